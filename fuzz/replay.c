/* Run a target of this folder on files, without libFuzzer: for compilers that lack it, and for tests. */
#include <stdio.h>
#include <stdlib.h>

int LLVMFuzzerTestOneInput(const unsigned char *data, size_t size);

int main(int argc, char **argv) {
    for (int i = 1; i < argc; i++) {
        FILE *file = fopen(argv[i], "rb");
        if (!file) return perror(argv[i]), 2;
        enum { MOST = 1 << 20 };
        unsigned char *whole = malloc(MOST);
        const size_t size = fread(whole, 1, MOST, file);
        unsigned char *data = malloc(size + !size); /* of exactly this size, so that the sanitizers see its end */
        for (size_t k = 0; k < size; k++) data[k] = whole[k];
        LLVMFuzzerTestOneInput(data, size);
        free(data), free(whole), fclose(file);
    }
    printf("%d inputs\n", argc - 1);
    return 0;
}
