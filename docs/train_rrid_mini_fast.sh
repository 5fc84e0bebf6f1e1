#!/usr/bin/env bash
# rrid-mini-fast, by distillation: docs/train_rrid_mini_fast.sh DATA TEACHER.xml BODY.xml OUT
#
# DATA: the folder data/ that docs/fit_rrid_mini.sh wrote (tables, list, and the teacher's descriptors).
# TEACHER.xml: OpenVINO's person-reidentification-retail-0277, which sees the images at 256 x 128.
# BODY.xml: OpenVINO's person-reidentification-retail-0287, of half the width, which begins as the body.
# OUT: a new folder for the fit and the training. Puts the result into the package as rrid-mini-fast. Labels choose
# what stands together in a batch, and weigh next to nothing in the loss.
set -euo pipefail
data=$1 teacher=$2 body=$3 out=$4
here=$(dirname "$0")
python "$here/fit_rrid_mini.py" "$teacher" "$data/all.csv" "$out/fit" --recipe rrid-mini-fast --body "$body" \
    --unlabelled "$data/unlabelled.txt" --kept "$data" --copies 0
# The later stages alone: the earlier ones cost most, and see what they saw.
crosscam train rrid-mini-fast --resume --out "$out/later" --data "$data/all.csv" --set "train.start=$out/fit" \
    --set train.epochs=3 --set train.frozen_stages=2 --set evaluation.every=0 --set train.checkpoint_steps=100 \
    --set data.augment.shift=0.05 --set data.augment.jitter=0.2 --set data.augment.tint=0.1 --set data.augment.blur=0.1 \
    --set data.augment.background=0.2 --set data.augment.erase_probability=0.3 \
    --set "distill.teachers=$teacher" --set "distill.input=bgr 256x128 255" \
    --set "distill.unlabeled=$data/unlabelled.txt" --set data.batch_ids=8 --set distill.unlabeled_images=32 \
    --set distill.similarity=3000 --set distill.mapping=200 --set loss.cross_entropy_weight=0 \
    --set optim.lr_backbone=4e-4 --set optim.lr_head=1e-3 --set schedule.warmup_epochs=0.1
# A quarter of the fit stays in each weight, for cameras that the training did not see.
python "$here/make_rrid_mini.py" "$out/later" rrid-mini-fast 0.25
