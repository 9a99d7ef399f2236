#!/usr/bin/env bash
# The whole story of the bundled models, from pictures to ONNX files. Some hours on two cores; a second call
# resumes. The data and the teachers' weights are not part of agewise: see NOTICE and MODEL_CARD.md for where they are from.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
export PATH="$PWD/.venv/bin:$PATH"
data=${DATA:-../shared/data}
mkdir -p work

# Photos -> face crops in the standard frame. What is rejected, and why, stands in work/*.rejects.csv.
for set in fairface-train fairface-val utkface-dev; do
  agewise prepare "$data/$set.parquet" --out "work/$set.parquet"
done

# Two outside networks say how old each face is; their answers are put right per age and kept within the known groups;
# a second time for women and men apart, whom the networks read differently.
agewise annotate work/fairface-train.parquet --teacher recipes/teachers/pair-mirrored.toml \
  --out work/fairface-train.raw.parquet
agewise recalibrate work/fairface-train.raw.parquet --constrain --edge 5 \
  --out work/fairface-train.soft.parquet --response work/pair.response.json
agewise recalibrate work/fairface-train.raw.parquet --constrain --edge 5 --by sex \
  --out work/fairface-train.fair.parquet --response work/pair.response.json

# A student learns these distributions at 160 pixels, then at 208, and at last those put right for women and men apart;
# another learns the last from the start. From their mean one learns to answer blurred, noisy and compressed views as the
# mean does clear ones; a narrower one begins with the strongest filters of the mean, imitates it, and learns so too.
for name in base-160 base-208 base base-one; do
  agewise train "recipes/$name.toml"
done
agewise average runs/base runs/base-one --out runs/base-mean
for name in base-robust small small-robust; do
  agewise train "recipes/$name.toml"
done
agewise average runs/small runs/small-robust --out runs/small-mean

# Each becomes a file in int8, base for a face and its mirror image. Its intervals and a map of its ages are set on
# fairface-val, from which neither has learnt: once for the limits of int8, once for what int8 answers.
models=agewise/deployment/models
agewise export runs/base-robust --name base --mirror --licence Apache-2.0 --out work/base.plain.onnx
agewise export runs/small-mean --name small --licence Apache-2.0 --out work/small.plain.onnx
for name in base small; do
  agewise calibrate "work/$name.plain.onnx" work/fairface-val.parquet --recalibrate mixed --out "work/$name.onnx"
  agewise quantize "work/$name.onnx" --calibrate-on work/fairface-train.parquet --check-on work/fairface-val.parquet \
    --out "work/$name.8.onnx"
  agewise calibrate "work/$name.8.onnx" work/fairface-val.parquet --recalibrate mixed --out "$models/$name.onnx"
done

# What it is worth, beside its teachers, on faces that it has not seen.
for model in base small recipes/teachers/faceapi.toml recipes/teachers/faceres.toml recipes/teachers/pair.toml; do
  for set in fairface-val utkface-dev; do
    agewise evaluate "$model" "work/$set.parquet" --out "work/reports/$(basename "$model" .toml)-$set"
  done
done
