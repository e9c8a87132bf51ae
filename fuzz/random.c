/* Run a target of this folder on random inputs, without libFuzzer: for sanitizers and for foreign machines under an
 * emulator (tests/test_native.py).
 *
 *     cc -std=c11 -O2 -I_ext -Ifuzz fuzz/random.c fuzz/graph.c _ext/core/X.c ... -pthread -o random && ./random 100 2
 *
 * The arguments are how many inputs, and how many threads to use, by default what the inputs say. Prints what was run
 * and a hash of the results, which must be the same on every machine.
 */
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

#include "isa/sets.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
extern int fuzz_threads;
extern uint64_t fuzz_hash;

int main(int argc, char **argv) {
    enum { LONGEST = 400 };
    const int inputs = argc > 1 ? atoi(argv[1]) : 100;
    fuzz_threads = argc > 2 ? atoi(argv[2]) : 0;
    uint64_t state = 1;
    for (int i = 0; i < inputs; i++) {
        uint8_t *data = malloc(LONGEST);
        if (!data) return 2;
        for (int k = 0; k < LONGEST; k++) {
            state = state * 6364136223846793005u + 1442695040888963407u;
            data[k] = (uint8_t)(state >> 56);
        }
        LLVMFuzzerTestOneInput(data, (size_t)(LONGEST / 4 * (1 + i % 4)));
        free(data);
    }
    for (int s = 0; ic_isa_at(s); s++)
        if (ic_isa_at(s)->supported()) printf("%s ", ic_isa_at(s)->name);
    printf("equal: %d inputs, hash %016llx\n", inputs, (unsigned long long)fuzz_hash);
    return 0;
}
