#!/usr/bin/env bash
# rrid-mini at 128 x 64, by distillation: docs/train_rrid_mini_128.sh TABLE LIST TEACHER.xml OUT
#
# TABLE: training images with labels (mini/all.csv of docs/rrid-mini.md). LIST: further images, one a line.
# TEACHER.xml: OpenVINO's person-reidentification-retail-0277, which sees the images at 256 x 128.
# OUT: a new folder for the three trainings. Starts from rrid-mini in the package, and puts the result there as
# rrid-mini-128. Labels choose what stands together in a batch, and weigh next to nothing in the loss.
set -euo pipefail
table=$1 list=$2 teacher=$3 out=$4
common=(
    --data "$table" --set data.height=128 --set data.width=64 --set evaluation.flip=false --set evaluation.every=0
    --set data.augment.shift=0.05 --set data.augment.jitter=0.2 --set data.augment.tint=0.1 --set data.augment.blur=0.1
    --set data.augment.background=0.2 --set data.augment.erase_probability=0.3
    --set "distill.teachers=$teacher" --set "distill.input=bgr 256x128 255" --set "distill.unlabeled=$list"
    --set distill.similarity=3000 --set distill.mapping=200 --set loss.cross_entropy_weight=0
    --set train.checkpoint_steps=100 --set optim.lr_backbone=4e-4 --set optim.lr_head=1e-3
)
# Everything learns the smaller people; then the later stages alone, faster, and once more for longer.
crosscam train rrid-mini --resume --out "$out/whole" "${common[@]}" --set train.epochs=1 \
    --set data.batch_ids=12 --set distill.unlabeled_images=16 --set schedule.warmup_epochs=0.2
later() { # OUT START EPOCHS
    mkdir -p "$1"
    cp "$out/whole/teachers.npz" "$1/"
    crosscam train rrid-mini --resume --out "$1" "${common[@]}" --set "train.start=$2" --set "train.epochs=$3" \
        --set train.frozen_stages=2 --set data.batch_ids=8 --set distill.unlabeled_images=32 --set schedule.warmup_epochs=0.1
}
later "$out/later" "$out/whole" 1
later "$out/longer" "$out/later" 4
python "$(dirname "$0")/make_rrid_mini.py" "$out/longer" rrid-mini-128
