#!/usr/bin/env bash
# rrid-mini from the data folders: docs/fit_rrid_mini.sh MARKET CUHK01 CUHK03 BODY.xml OUT [SEED]
#
# MARKET: Market-1501-v15.09.15 with gt_bbox. CUHK01: a folder with the 3,884 images. CUHK03: the first pair of cameras,
# labeled/ and detected/. BODY.xml: OpenVINO's person-reidentification-retail-0277. OUT: a new folder: its data/ holds
# the tables and the list of docs/rrid-mini.md, its rrid-mini-SEED the network. `python docs/make_rrid_mini.py
# OUT/rrid-mini-0` then puts it into the package. What was described is kept in OUT and serves the next seed.
set -euo pipefail
market=$1 cuhk01=$2 cuhk03=$3 body=$4 out=$5 seed=${6:-0}
here=$(dirname "$0")
mkdir -p "$out/data"
crosscam data holdout "$market" "$out/data/market1501.csv" --train-ids 651
crosscam data join "$out/data/cuhk01.csv" "$cuhk01" --protocol 871/100
crosscam data join "$out/data/cuhk03.csv" "$cuhk03/labeled"
crosscam data join "$out/data/all.csv" "$out/data/market1501.csv" "$out/data/cuhk01.csv" "$out/data/cuhk03.csv"
# Without labels: the hand-drawn boxes of the same 651 people, and CUHK03's training people boxed by a detector.
python - "$market/gt_bbox" "$cuhk03/detected/train" "$out/data" <<'LIST'
import csv, os, sys
boxes, detected, data = sys.argv[1:]
with open(f"{data}/market1501.csv", newline="") as table:
    known = {f"{int(row['pid']):04}" for row in csv.DictReader(table) if row["split"] == "train"}
images = [f"{boxes}/{name}" for name in sorted(os.listdir(boxes)) if name.endswith(".jpg") and name[:4] in known]
images += [f"{detected}/{name}" for name in sorted(os.listdir(detected)) if name.endswith(".jpg")]
with open(f"{data}/unlabelled.txt", "w") as file:
    file.writelines(f"{os.path.relpath(path, data)}\n" for path in images)
print(f"{data}/unlabelled.txt: {len(images):,} images")
LIST
# The descriptors of the body know no seed.
python "$here/fit_rrid_mini.py" "$body" "$out/data/all.csv" "$out/rrid-mini-$seed" \
    --unlabelled "$out/data/unlabelled.txt" --kept "$out/data" --copies 0 --seed "$seed"
