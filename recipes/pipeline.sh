#!/usr/bin/env bash
# The whole story of the bundled model, from pictures to one ONNX file. About two hours on two cores; a second call
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

# Two outside networks say how old each face is; their answers are put right per age and kept within the known groups.
agewise annotate work/fairface-train.parquet --teacher recipes/teachers/pair.toml --out work/fairface-train.raw.parquet
agewise recalibrate work/fairface-train.raw.parquet --constrain --edge 2.5 \
  --out work/fairface-train.soft.parquet --response work/pair.response.json

# A student learns these distributions and becomes one file.
agewise train recipes/base.toml
agewise export runs/base --licence Apache-2.0 --calibrate-on work/fairface-val.parquet \
  --out agewise/deployment/models/base.onnx

# What it is worth, beside its teachers, on faces that it has not seen.
for model in base recipes/teachers/faceapi.toml recipes/teachers/faceres.toml recipes/teachers/pair.toml; do
  for set in fairface-val utkface-dev; do
    agewise evaluate "$model" "work/$set.parquet" --out "work/reports/$(basename "$model" .toml)-$set"
  done
done
