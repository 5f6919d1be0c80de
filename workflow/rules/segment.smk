rule train_deeplab:
    """Train DeepLab v2 on the pseudo labels."""
    input:
        data=data_folder,
        labels=shards("results/{experiment}/{method}/{grids}/pseudo/{shard}"),
    output:
        deeplab="results/{experiment}/{method}/{grids}/deeplab.pt",
        curve="results/{experiment}/{method}/{grids}/deeplab.csv",
    params:
        code=code_hash("ppl.segment.train"),
        train=cli_flag("train-split", "data", "train_split"),
        architecture=cli_flags("segment", "architecture", prefix="architecture"),
        training=cli_flags("segment", "training", prefix="training"),
        precision=precision,
    message:
        "{wildcards.experiment} {wildcards.method}/{wildcards.grids}: training of DeepLab; {log}"
    log:
        "results/{experiment}/logs/{method}/{grids}/deeplab.log",
    benchmark:
        "results/{experiment}/benchmarks/{method}/{grids}/deeplab.tsv"
    threads: network_threads
    resources:
        mem_mb=6000,
        runtime=1440,
        gpu=gpus,
    conda:
        "../../envs/ppl.yaml"
    shell:
        "python -m ppl.segment.train --data {input.data} {params.train} --labels {input.labels}"
        " --out {output.deeplab} --log {output.curve} --code {params.code} {params.architecture} {params.training}"
        " --hardware.devices {resources.gpu} --hardware.workers {threads} {params.precision} > {log} 2>&1"


rule predict:
    """Predict label maps of a split, or of a shard of it: by the network alone and after the CRF."""
    input:
        data=data_folder,
        deeplab="results/{experiment}/{method}/{grids}/deeplab.pt",
    output:
        directory("results/{experiment}/{method}/{grids}/predictions/{split}-{shard}"),
    params:
        code=code_hash("ppl.segment.predict_split"),
        scales=cli_flag("photo-scales", "segment", "photo_scales"),
        batch=cli_flag("batch-size", "segment", "batch_size"),
        crf=cli_flag("crf", "segment", "crf"),
        iterations=cli_flag("iterations", "segment", "iterations"),
        pairwise=cli_flags("segment", "pairwise", prefix="pairwise"),
        crf_on=crf_on,
        precision=precision,
        shard=lambda wildcards: wildcards.shard.replace("of", "/"),
    message:
        "{wildcards.experiment} {wildcards.method}/{wildcards.grids}: predictions, {wildcards.split} {params.shard}; {log}"
    log:
        "results/{experiment}/logs/{method}/{grids}/predict-{split}-{shard}.log",
    benchmark:
        "results/{experiment}/benchmarks/{method}/{grids}/predict-{split}-{shard}.tsv"
    threads: network_threads
    resources:
        mem_mb=4000,
        runtime=480,
        gpu=one_gpu,
    conda:
        "../../envs/ppl.yaml"
    shell:
        "python -m ppl.segment.predict_split --data {input.data} --split {wildcards.split} --shard {params.shard}"
        " --checkpoint {input.deeplab} --out {output} {params.scales} {params.batch}"
        " {params.crf} {params.iterations} {params.pairwise} {params.crf_on}"
        " --hardware.devices {resources.gpu} --hardware.workers {threads} {params.precision} > {log} 2>&1"


rule measure_predictions:
    """Measure IoU of the network on the validation split, with or without CRF; reads masks."""
    input:
        data=data_folder,
        predictions=predictions_of("val_split"),
    output:
        report(
            "results/{experiment}/{method}/{grids}/val-{kind}.csv",
            caption="../report/val.rst",
            category="{experiment}",
            subcategory="Network",
            labels={"shows": "IoU per class", "predictions": "{kind}", "method": "{method}", "grids": "{grids}"},
        ),
    params:
        code=code_hash("ppl.measure.label_maps"),
        split=setting("data", "val_split"),
        folders=lambda wildcards, input: [f"{folder}/{wildcards.kind}" for folder in input.predictions],
    wildcard_constraints:
        kind="raw|crf",
    message:
        "{wildcards.experiment} {wildcards.method}/{wildcards.grids}: predictions measured, {wildcards.kind}; {log}"
    log:
        "results/{experiment}/logs/{method}/{grids}/measure-val-{kind}.log",
    benchmark:
        "results/{experiment}/benchmarks/{method}/{grids}/measure-val-{kind}.tsv"
    threads: workers
    resources:
        mem_mb=1000,
        runtime=30,
    conda:
        "../../envs/ppl.yaml"
    shell:
        "python -m ppl.measure.label_maps --data {input.data} --split {params.split} --predictions {params.folders}"
        " --name 'network, {wildcards.kind}' --out {output} --workers {threads} > {log} 2>&1"


rule gather_test_predictions:
    """Gather the test predictions of the main variant in the VOC server's layout, and a checked tar of them."""
    input:
        data=data_folder,
        predictions=files(paths.predictions, "test_split"),
        # ppl.predict reads it beside the network; no prediction depends on it.
        settings=ancient("results/{experiment}/settings.yaml"),
    output:
        folder=directory("results/{experiment}_test_preds"),
        tar="results/{experiment}_test_preds.tar",
    params:
        code=code_hash("ppl.segment.voc_server"),
        split=setting("data", "test_split"),
        folders=lambda wildcards, input: [f"{f}/{paths.best_kind(E[wildcards.experiment])}" for f in input.predictions],
    message:
        "{wildcards.experiment}: test predictions gathered and packed; {log}"
    log:
        "results/{experiment}/logs/test_preds.log",
    benchmark:
        "results/{experiment}/benchmarks/test_preds.tsv"
    threads: workers
    resources:
        mem_mb=2000,
        runtime=120,
    conda:
        "../../envs/ppl.yaml"
    shell:
        "python -m ppl.segment.voc_server --data {input.data} --split {params.split} --predictions {params.folders}"
        " --out {output.folder} --tar {output.tar} --workers {threads} > {log} 2>&1"
