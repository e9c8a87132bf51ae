#!/usr/bin/env bash
# Fuzz every target for SECONDS_EACH seconds (default 60): make fuzz TIME=600. Corpora grow in build/fuzz; what is found
# lies in build/fuzz/found. Prints a line for each target and fails if anything was found.
#
#     fuzz/run.sh [SECONDS_EACH] [TARGET ...]
set -uo pipefail
cd "$(dirname "$0")/.."
seconds=${1:-60}
[ $# -gt 0 ] && shift
targets=("$@")
[ ${#targets[@]} -eq 0 ] && targets=(coder graph flow streams clips frames bundles)

python=$PWD/.venv/bin/python
build=build/fuzz
mkdir -p "$build/found" "$build/log"
flags="-std=c11 -g -O2 -fno-omit-frame-pointer -fsanitize=fuzzer,address,undefined -fno-sanitize-recover=undefined"
export PYTHONPATH=$PWD OMP_NUM_THREADS=1
failed=0

for target in "${targets[@]}"; do
    corpus=$build/corpus/$target
    "$python" fuzz/corpus.py unpack "$target" "$corpus" >/dev/null || exit 2
    case $target in
        coder)
            clang $flags -I_ext fuzz/coder.c -o "$build/coder" || exit 2
            command=("$build/coder" -max_len=600) ;;
        graph | flow) # compares inside kernels say nothing about inputs, and cost three quarters of the time
            clang $flags -fno-sanitize-coverage=trace-cmp -pthread -Wno-unknown-pragmas -I_ext "fuzz/$target.c" \
                _ext/{core,isa,rows,run}/*.c -o "$build/$target" || exit 2
            command=("$build/$target" -max_len=300) ;;
        streams | clips) command=("$python" fuzz/drive.py "$target" -max_len=2000) ;;
        frames) # few branches in Python tell them apart: without these options only the shortest would be kept
            command=("$python" fuzz/drive.py frames -max_len=2000 -keep_seed=1 -reduce_inputs=0) ;;
        bundles) command=("$python" fuzz/drive.py bundles -max_len=8000) ;;
        *) echo "fuzz: no target $target" >&2; exit 2 ;;
    esac
    log=$build/log/$target.log
    "${command[@]}" -max_total_time="$seconds" -len_control=0 -timeout=300 -rss_limit_mb=2048 -print_final_stats=1 \
        -artifact_prefix="$build/found/$target-" "$corpus" >"$log" 2>&1
    status=$?
    runs=$(sed -n 's/^stat::number_of_executed_units: *//p' "$log")
    cover=$(grep -o 'cov: [0-9]*' "$log" | tail -n 1)
    echo "fuzz: $target: ${runs:-0} executions, $cover edges, $(ls "$corpus" | wc -l) inputs, status $status"
    if [ $status -ne 0 ]; then
        tail -n 30 "$log"
        failed=1
    fi
done
exit $failed
