rule train_classifier:
    """Train the classifier of one variant on image-level labels (Sections III-B to III-D)."""
    input:
        data=data_folder,
        check=data_check,
        start=starting_classifier,
    output:
        classifier="results/{experiment}/{method}/{grids}/classifier.pt",
        curve="results/{experiment}/{method}/{grids}/classify.csv",
    params:
        code=code_hash("ppl.classify.train"),
        train=cli_flag("train-split", "data", "train_split"),
        val=cli_flag("val-split", "data", "val_split"),
        architecture=cli_flags("classify", "architecture", prefix="architecture"),
        training=classifier_training,
        start=lambda wildcards, input: f"--start {input.start}" if input.start else "",
        precision=precision,
    message:
        "{wildcards.experiment} {wildcards.method}/{wildcards.grids}: training of the classifier; {log}"
    log:
        "results/{experiment}/logs/{method}/{grids}/classify.log",
    benchmark:
        "results/{experiment}/benchmarks/{method}/{grids}/classify.tsv"
    threads: network_threads
    resources:
        mem_mb=12000,
        runtime=720,
        gpu=gpus,
    conda:
        "../../envs/ppl.yaml"
    shell:
        "python -m ppl.classify.train --data {input.data} {params.train} {params.val}"
        " --method {wildcards.method} --grids {wildcards.grids} {params.start} --out {output.classifier}"
        " --log {output.curve} --code {params.code} {params.architecture} {params.training}"
        " --hardware.devices {resources.gpu} --hardware.workers {threads} {params.precision} > {log} 2>&1"
