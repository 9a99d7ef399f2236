#!/bin/sh
# The paper's recipe and ours, on the same network, faces and number of passes; and the two networks of several inputs
# or tasks, which train on a CPU. Then each is scored. The faces at 128 pixels are those of `benchmarks/heads.py run 0`. About 25 minutes on one core; the figures are in recipes/README.md.
#   sh benchmarks/recipes.sh
set -e
agewise=${AGEWISE:-.venv/bin/agewise}
shared=${SHARED:-../shared/data}
data="data.train=work/heads/train.parquet data.valid=work/fairface-val.parquet data.limit=12000 data.workers=0 runs=runs/recipes training.threads=1"

# the VGGFace2 trunk in place of ImageNet weights, which cannot be fetched here; the teachers' manifest has the aligned frame
trunk="model.backbone.name=mobilenetv1_100 model.backbone.weights=$shared/teachers/mobilenetv1_100-vggface2.safetensors \
 model.backbone.options.pad_type=same model.backbone.colours=BGR model.backbone.mean=[103.939,116.779,123.68] \
 model.backbone.scale=[1.0,1.0,1.0] model.backbone.reopen_norms=true model.size=96"
aligned="model.frame=aligned model.margin=0.0 model.window.x=0.5 model.window.y=0.54 model.window.side=0.8"

$agewise train recipes/paper-mobilenetv3-small.toml name=paper $data $trunk $aligned training.epochs=3 training.step_epochs=1
$agewise train recipes/modern.toml $data $trunk training.epochs=3 training.batch=32
$agewise train recipes/swinface-small.toml $data training.epochs=1
$agewise train recipes/mivolo-small.toml $data training.epochs=1

for run in paper modern swinface-small mivolo-small; do
    for set in utkface-dev fairface-val; do
        $agewise evaluate runs/recipes/$run work/$set.parquet --out work/reports/recipes-$run-$set --threads 1
    done
done
reports=work/reports/recipes
$agewise compare $reports-modern-utkface-dev $reports-modern-fairface-val $reports-paper-utkface-dev $reports-paper-fairface-val \
    --out work/reports/compare-recipes
