#!/usr/bin/env bash
# The pages that the browser tests open, made by the program: fixtures.sh PROGRAM FOLDER
set -euo pipefail
sdviz=$(realpath "$1")
rm -rf "$2"
mkdir -p "$2"
cd "$2"
trace() { "$sdviz" --quiet trace "$@" >/dev/null; }
trace --prompt "a red apple on a blue background" --seed 3 --steps 8 --attention --out run
trace --prompt "a banana on a purple background" --seed 3 --steps 8 --out run-2 --no-report
trace --prompt "a red apple on a blue background" --seed 3 --steps 8 --edit "mask **.attn2 words=apple steps=1-4" \
    --out masked --no-report
trace --prompt "a red apple" --steps 4 --record latents --decode final --out bare
trace --prompt '</script><script>window.hacked=1</script><img src=x onerror="window.hacked=1"><!-- a cat' \
    --negative-prompt '<script>window.hacked=1</script>' --steps 3 --out hostile
trace --prompt "a red apple" --seed 3 --steps 4 --hires 2 --record all --out twice
trace --prompt "a red apple" --seed 3 --steps 4 --guidance-rescale 0.7 --scheduler euler --record all --out rescaled
"$sdviz" --quiet sweep --prompt "a red apple on a blue background" --steps 3,6 --guidance-scale 1,5 --seed 1 \
    --decode every --out sweep --no-grid
"$sdviz" --quiet report run run-2 --out two.html
"$sdviz" --quiet report run masked --out edits.html
"$sdviz" --quiet report run --budget 0.5 --out small.html
# What the exporters paint: one pixel a latent, of the first step and of the last.
for order in first last; do
    back=$([ "$order" = last ] && echo --reverse || true)
    "$sdviz" --quiet latents run --channels 3,0,1 --format apng --size 16 --no-captions $back --out "$order"
done
# What it draws a word's map from, as levels of grey: one pixel a latent, of a step by itself.
for size in "" "--sizes f2 --upsampling hard"; do
    # shellcheck disable=SC2086 # a list of flags
    "$sdviz" --quiet attention run apple $size --step 5 --format apng --over none --colours grey --size 16 --no-captions \
        --out "words${size:+-f2}"
done
