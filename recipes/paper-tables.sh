#!/usr/bin/env bash
# Tables 1 and 3 to 6 and Figures 1, 3 and 4 of Greco et al. (2021), theirs beside yours, of whatever you have: manifests
# of crops (agewise import, agewise prepare) in the variables below, trained runs in RUNS, named after their recipe:
#   paper-vgg-16  paper-vgg-16-imdb-wiki  paper-vgg-16-lap  paper-vgg-16-imdb-wiki-lap  paper-vgg-16-adience-0 ... -4
# and so on for the four other networks. More of your own: recipes/paper-tables.sh --model base=base
# --manifest mine=mine.parquet; earlier reports of agewise evaluate and robustness are models too. A second call resumes.
set -euo pipefail
export PATH="$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)/.venv/bin:$PATH"
runs=${RUNS:-runs}
words=()

# A data set: its name in the tables, the variable that has its manifest. LFW_PLUS_C is the clean manifest of LFW+ once
# more: naming it costs 65 times what LFW_PLUS costs.
for pair in vmage:VMAGE imdb-wiki:IMDB_WIKI lfw-plus:LFW_PLUS lap-2016:LAP adience:ADIENCE lfw-plus-c:LFW_PLUS_C; do
  variable=${pair#*:} manifest=${!variable:-}
  if [ -f "$manifest" ]; then
    words+=(--manifest "${pair%%:*}=$manifest")
  else
    echo "${pair%%:*} is left out: \$$variable ${manifest:+is $manifest, which }names no manifest" >&2
  fi
done

# A network: its name in the tables, and that of its recipe.
for pair in senet:se-resnet-50 vgg:vgg-16 densenet:densenet-121 mn3-large:mobilenetv3-large mn3-small:mobilenetv3-small; do
  for trained in vmage imdb-wiki; do
    name=${pair%%:*}-$trained run=$runs/paper-${pair#*:}
    [ $trained = vmage ] || run=$run-$trained
    [ ! -d "$run" ] || words+=(--model "$name=$run")
    [ ! -d "$run-lap" ] || words+=(--model "$name@lap-2016=$run-lap")
    [ ! -d "$run-adience-0" ] || words+=(--model "$name@adience=$run-adience-{fold}")
    [ -d "$run" ] || echo "$name is left out: no run $run" >&2
  done
done

agewise evaluate --protocol paper-tables ${words[@]+"${words[@]}"} --out "${OUT:-reports/paper-tables}" "$@"
