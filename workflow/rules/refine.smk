rule label_confident:
    """Write reliable labels by dense CRF, from the CAMs alone."""
    input:
        data=data_folder,
        cams=cams_of("train_split"),
    output:
        directory("results/{experiment}/{method}/{grids}/confident/{shard}"),
    params:
        code=code_hash("ppl.refine.reliable"),
        split=setting("data", "train_split"),
        confident=cli_flags("refine", "confident", prefix="confident"),
        pairwise=cli_flags("refine", "pairwise", prefix="pairwise"),
        crf_on=crf_on,
        shard=lambda wildcards: wildcards.shard.replace("of", "/"),
    message:
        "{wildcards.experiment} {wildcards.method}/{wildcards.grids}: reliable labels {params.shard}; {log}"
    log:
        "results/{experiment}/logs/{method}/{grids}/confident-{shard}.log",
    benchmark:
        "results/{experiment}/benchmarks/{method}/{grids}/confident-{shard}.tsv"
    threads: all_cores
    resources:
        mem_mb=2000,
        runtime=480,
        gpu=crf_gpus,
    conda:
        "../../envs/ppl.yaml"
    shell:
        "python -m ppl.refine.reliable --data {input.data} --split {params.split} --shard {params.shard}"
        " --cams {input.cams} --out {output} {params.confident} {params.pairwise} {params.crf_on}"
        " --workers {threads} > {log} 2>&1"


rule train_refiner:
    """Train IRNet or AffinityNet on the reliable labels."""
    input:
        data=data_folder,
        labels=shards("results/{experiment}/{method}/{grids}/confident/{shard}"),
    output:
        network="results/{experiment}/{method}/{grids}/{network}.pt",
        curve="results/{experiment}/{method}/{grids}/{network}.csv",
    params:
        code=lambda wildcards: code_hash(f"ppl.refine.train_{wildcards.network}"),
        train=cli_flag("train-split", "data", "train_split"),
        training=lambda wildcards: cli_flags("refine", wildcards.network, prefix="training")(wildcards),
        precision=precision,
    wildcard_constraints:
        network="irnet|affinitynet",
    message:
        "{wildcards.experiment} {wildcards.method}/{wildcards.grids}: training of {wildcards.network}; {log}"
    log:
        "results/{experiment}/logs/{method}/{grids}/{network}.log",
    benchmark:
        "results/{experiment}/benchmarks/{method}/{grids}/{network}.tsv"
    threads: network_threads
    resources:
        mem_mb=6000,
        runtime=480,
        gpu=gpus,
    conda:
        "../../envs/ppl.yaml"
    shell:
        "python -m ppl.refine.train_{wildcards.network} --data {input.data} {params.train} --labels {input.labels}"
        " --out {output.network} --log {output.curve} --code {params.code} {params.training}"
        " --hardware.devices {resources.gpu} --hardware.workers {threads} {params.precision} > {log} 2>&1"


rule walk:
    """Write pseudo labels: CAMs after a random walk that the refinement network guides (Section III-F)."""
    input:
        data=data_folder,
        cams=cams_of("train_split"),
        network=refining_network,
    output:
        directory("results/{experiment}/{method}/{grids}/pseudo/{shard}"),
    params:
        network=setting("refine", "network"),
        code=lambda wildcards: code_hash(f"ppl.refine.walk_{E[wildcards.experiment].settings['refine']['network']}"),
        split=setting("data", "train_split"),
        walk=cli_flags("refine", "walk", prefix="walk"),
        pairwise=cli_flags("refine", "pairwise", prefix="pairwise"),
        crf_on=crf_on,
        precision=precision,
        shard=lambda wildcards: wildcards.shard.replace("of", "/"),
    wildcard_constraints:
        experiment=experiments_with("refine", "network", among=["irnet", "affinitynet"]),
    message:
        "{wildcards.experiment} {wildcards.method}/{wildcards.grids}: pseudo labels by random walk {params.shard}; {log}"
    log:
        "results/{experiment}/logs/{method}/{grids}/pseudo-{shard}.log",
    benchmark:
        "results/{experiment}/benchmarks/{method}/{grids}/pseudo-{shard}.tsv"
    threads: network_threads
    resources:
        mem_mb=4000,
        runtime=480,
        gpu=one_gpu,
    conda:
        "../../envs/ppl.yaml"
    shell:
        "python -m ppl.refine.walk_{params.network} --data {input.data} --split {params.split} --shard {params.shard}"
        " --cams {input.cams} --network {input.network} --out {output} {params.walk} {params.pairwise} {params.crf_on}"
        " --hardware.devices {resources.gpu} --hardware.workers {threads} {params.precision} > {log} 2>&1"


rule crf_seeds:
    """Write seeds after a CRF, on the split on which they are measured (Table I)."""
    input:
        data=data_folder,
        cams=cams_of("seed_split"),
    output:
        directory("results/{experiment}/{method}/{grids}/seed-crf/{shard}"),
    params:
        code=code_hash("ppl.refine.crf_seeds"),
        split=setting("data", "seed_split"),
        threshold=cli_flag("threshold", "cam", "threshold"),
        confidence=cli_flag("confidence", "refine", "confident", "confidence"),
        iterations=cli_flag("iterations", "refine", "confident", "iterations"),
        pairwise=cli_flags("refine", "pairwise", prefix="pairwise"),
        crf_on=crf_on,
        shard=lambda wildcards: wildcards.shard.replace("of", "/"),
    message:
        "{wildcards.experiment} {wildcards.method}/{wildcards.grids}: seeds with CRF {params.shard}; {log}"
    log:
        "results/{experiment}/logs/{method}/{grids}/seed-crf-{shard}.log",
    benchmark:
        "results/{experiment}/benchmarks/{method}/{grids}/seed-crf-{shard}.tsv"
    threads: all_cores
    resources:
        mem_mb=2000,
        runtime=480,
        gpu=crf_gpus,
    conda:
        "../../envs/ppl.yaml"
    shell:
        "python -m ppl.refine.crf_seeds --data {input.data} --split {params.split} --shard {params.shard}"
        " --cams {input.cams} --out {output} {params.threshold} {params.confidence} {params.iterations}"
        " {params.pairwise} {params.crf_on} --workers {threads} > {log} 2>&1"


use rule crf_seeds as crf_pseudo with:
    input:
        data=data_folder,
        cams=cams_of("train_split"),
    output:
        directory("results/{experiment}/{method}/{grids}/pseudo/{shard}"),
    params:
        code=code_hash("ppl.refine.crf_seeds"),
        split=setting("data", "train_split"),
        threshold=cli_flag("threshold", "cam", "threshold"),
        confidence=cli_flag("confidence", "refine", "confident", "confidence"),
        iterations=cli_flag("iterations", "refine", "confident", "iterations"),
        pairwise=cli_flags("refine", "pairwise", prefix="pairwise"),
        crf_on=crf_on,
        shard=lambda wildcards: wildcards.shard.replace("of", "/"),
    wildcard_constraints:
        experiment=experiments_with("refine", "network", among=["none"]),
    message:
        "{wildcards.experiment} {wildcards.method}/{wildcards.grids}: pseudo labels by CRF {params.shard}; {log}"
    log:
        "results/{experiment}/logs/{method}/{grids}/pseudo-{shard}.log",
    benchmark:
        "results/{experiment}/benchmarks/{method}/{grids}/pseudo-{shard}.tsv"


rule measure_crf_seeds:
    """Measure IoU of the seeds after a CRF (Table I); reads masks."""
    input:
        data=data_folder,
        labels=shards("results/{experiment}/{method}/{grids}/seed-crf/{shard}"),
    output:
        report(
            "results/{experiment}/{method}/{grids}/seed-crf.csv",
            caption="../report/seed-crf.rst",
            category="{experiment}",
            subcategory="Seeds",
            labels={"shows": "IoU per class, with CRF", "method": "{method}", "grids": "{grids}"},
        ),
    params:
        code=code_hash("ppl.measure.label_maps"),
        split=setting("data", "seed_split"),
    message:
        "{wildcards.experiment} {wildcards.method}/{wildcards.grids}: seeds with CRF measured; {log}"
    log:
        "results/{experiment}/logs/{method}/{grids}/measure-seed-crf.log",
    benchmark:
        "results/{experiment}/benchmarks/{method}/{grids}/measure-seed-crf.tsv"
    threads: workers
    resources:
        mem_mb=1000,
        runtime=30,
    conda:
        "../../envs/ppl.yaml"
    shell:
        "python -m ppl.measure.label_maps --data {input.data} --split {params.split} --predictions {input.labels}"
        " --name 'seeds, CRF' --out {output} --workers {threads} > {log} 2>&1"


rule measure_pseudo:
    """Measure IoU of the pseudo labels on the seed split; reads masks."""
    input:
        data=data_folder,
        labels=shards("results/{experiment}/{method}/{grids}/pseudo/{shard}"),
    output:
        report(
            "results/{experiment}/{method}/{grids}/pseudo.csv",
            caption="../report/pseudo.rst",
            category="{experiment}",
            subcategory="Pseudo labels",
            labels={"shows": "IoU per class", "method": "{method}", "grids": "{grids}"},
        ),
    params:
        code=code_hash("ppl.measure.label_maps"),
        split=setting("data", "seed_split"),
    message:
        "{wildcards.experiment} {wildcards.method}/{wildcards.grids}: pseudo labels measured; {log}"
    log:
        "results/{experiment}/logs/{method}/{grids}/measure-pseudo.log",
    benchmark:
        "results/{experiment}/benchmarks/{method}/{grids}/measure-pseudo.tsv"
    threads: workers
    resources:
        mem_mb=1000,
        runtime=30,
    conda:
        "../../envs/ppl.yaml"
    shell:
        "python -m ppl.measure.label_maps --data {input.data} --split {params.split} --predictions {input.labels}"
        " --name 'pseudo labels' --out {output} --workers {threads} > {log} 2>&1"
