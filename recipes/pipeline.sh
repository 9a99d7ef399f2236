#!/usr/bin/env bash
# From pictures to the bundled models, and what they are worth: about three hours on two cores; a second call resumes. The
# data and the teachers' weights are not part of agewise: see NOTICE and MODEL_CARD.md for where they are from. What it
# makes lies in work/models.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
export PATH="$PWD/.venv/bin:$PATH"
data=${DATA:-../shared/data}
mkdir -p work/models

# Photos -> face crops in the standard frame. What is rejected, and why, stands in work/*.rejects.csv.
for set in fairface-train fairface-val utkface-dev portraits-studio; do
  agewise prepare "$data/$set.parquet" --out "work/$set.parquet"
done

# The same picture on two sides, counted; the reports say what was found. Leaks are 6 pictures of fairface-val (status 1).
agewise audit work/{fairface-train,fairface-val,utkface-dev,portraits-studio}.parquet || [ $? = 1 ]

# Two outside networks say how old each face is; their answers are put right per age, for women and men apart, whom the
# networks read differently, and kept within the known groups.
agewise annotate work/fairface-train.parquet --teacher recipes/teachers/pair-mirrored.toml \
  --out work/fairface-train.raw.parquet
agewise recalibrate work/fairface-train.raw.parquet --constrain --edge 5 --by sex \
  --out work/fairface-train.fair.parquet --response work/pair.response.json

# A student learns these distributions, in part from blurred, noisy and compressed views. It goes on from there, imitating
# at them what it was at the clear view; a narrower one begins with its strongest filters and imitates the same.
agewise train recipes/base-first.toml
agewise train recipes/base.toml
agewise train recipes/small.toml

# Each becomes a file in int8, base for a face and its mirror image. Its intervals and a map of its ages are set on
# fairface-val, from which neither has learnt: once for the limits of int8, once for what int8 answers.
agewise export runs/base --mirror --licence Apache-2.0 --out work/base.plain.onnx
agewise export runs/small --licence Apache-2.0 --out work/small.plain.onnx
for name in base small; do
  agewise calibrate "work/$name.plain.onnx" work/fairface-val.parquet --recalibrate mixed --out "work/$name.onnx"
  agewise quantize "work/$name.onnx" --calibrate-on work/fairface-train.parquet --check-on work/fairface-val.parquet \
    --out "work/$name.8.onnx"
  agewise calibrate "work/$name.8.onnx" work/fairface-val.parquet --recalibrate mixed --out "work/models/$name.onnx"
done

# What it is worth, beside its teachers, on faces that it has not seen.
for model in work/models/base.onnx work/models/small.onnx recipes/teachers/{faceapi,faceres,pair}.toml; do
  name=$(basename "${model%.*}")
  for set in fairface-val utkface-dev portraits-studio; do
    agewise evaluate "$model" "work/$set.parquet" --out "work/reports/$name-$set"
  done
done

# How they fare at a gate of 18 years.
for name in base small; do
  agewise gate "work/models/$name.onnx" work/utkface-dev.parquet --threshold 18 --buffer 25 --out "work/gate/$name"
done
