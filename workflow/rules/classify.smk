rule train_classifier:
    """Train the classifier of one variant on image-level labels (Sections III-B to III-D)."""
    input:
        data=data_of("photos+labels train_split"),
        check=check_before("photos+labels train_split"),
        start=starting_classifier,
    output:
        classifier="results/{experiment}/{method}/{grids}/classifier.pt",
        curve="results/{experiment}/{method}/{grids}/classify.csv",
    params:
        code=code("ppl.classify.train", "classify.architecture"),
        state=state_of("photos+labels train_split"),
        train=split("train_split"),
        val=split("val_split"),
        settings=flags("classify.architecture", "hardware.precision"),
        training=classifier_training,
        random_seed=random_seed,
        start=lambda wildcards, input: f"--start {input.start}" if input.start else "",
        compile=uncompared_flags("hardware.compile"),
    message:
        "{wildcards.experiment} {wildcards.method}/{wildcards.grids}: training of the classifier; {log}"
    log:
        "results/{experiment}/logs/{method}/{grids}/classify.log",
    benchmark:
        "results/{experiment}/benchmarks/{method}/{grids}/classify.tsv"
    threads: network_threads
    resources:
        mem_mb=growing(12000),
        runtime=720,
        gpu=gpus,
    conda:
        "../../envs/ppl.yaml"
    shell:
        "python -m ppl.classify.train --data {input.data} --train_split {params.train} --val_split {params.val}"
        " --method {wildcards.method} --grids {wildcards.grids} {params.start} --out {output.classifier}"
        " --log {output.curve} --code {params.code} {params.random_seed} {params.settings} {params.training}"
        " --hardware.gpu {resources.gpu} --hardware.workers {threads} {params.compile} > {log} 2>&1"
