#!/usr/bin/env bash
# Makes the files of this folder with version 0.1 (commit 84ac317); they are committed, and tests/test_earlier_versions.py reads them.
#   git worktree add ../v01 84ac317; PYTHONPATH=../v01/src bash tests/version_0_1/make.sh
set -euo pipefail
C="python -m crosscam"; HERE=$(cd "$(dirname "$0")" && pwd)
rm -rf /srv/people /srv/run /srv/g; cd /srv; export OMP_NUM_THREADS=1
$C data render people --ids 20 --cameras 3 --images 2
$C train demo --data people --out run --set model.backbone=basic:stem=8,planes=8.8.16.16,out=8.8.16.16,depths=1.1.1.1 \
  --set model.scales=4,2 --set model.dim=16 --set data.height=64 --set data.width=32 --set train.epochs=2 --set evaluation.every=0
rm -rf run/tensorboard run/report.html run/scores*.json people/bounding_box_train people/identities.json
$C extract run people/query descriptors.npz
$C gallery create g run
$C gallery add g run people
$C gallery search g run people/query/0003_c1s1_088602_01.jpg --k 5 --json > search.json
$C explain run people/query/0003_c1s1_088602_01.jpg people/query/0003_c2s1_044014_01.jpg --json --out why.html > explain.json
$C evaluate run --data people --json > evaluate.json
$C evaluate run --data people --rerank --json > reranked.json
rm -rf "$HERE/files"; mkdir "$HERE/files"
rm -f g/gallery.sqlite-*  # empty: the writer has closed it
cp -r people run g descriptors.npz search.json explain.json evaluate.json reranked.json "$HERE/files"
rm -f "$HERE"/files/run/scores* "$HERE"/files/g/writer.lock
