rule label_confident:
    """Confident labels by dense CRF, from the CAMs alone."""
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
        "{wildcards.experiment} {wildcards.method}/{wildcards.grids}: confident labels {params.shard}; {log}"
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


rule train_irnet:
    """Trains IRNet's boundary and displacement branches on confident labels."""
    input:
        data=data_folder,
        labels=shards("results/{experiment}/{method}/{grids}/confident/{shard}"),
    output:
        irnet="results/{experiment}/{method}/{grids}/irnet.pt",
        curve="results/{experiment}/{method}/{grids}/irnet.csv",
    params:
        code=code_hash("ppl.refine.train_irnet"),
        train=cli_flag("train-split", "data", "train_split"),
        training=cli_flags("refine", "irnet", prefix="training"),
        precision=precision,
    message:
        "{wildcards.experiment} {wildcards.method}/{wildcards.grids}: training of IRNet; {log}"
    log:
        "results/{experiment}/logs/{method}/{grids}/irnet.log",
    benchmark:
        "results/{experiment}/benchmarks/{method}/{grids}/irnet.tsv"
    threads: network_threads
    resources:
        mem_mb=6000,
        runtime=480,
        gpu=gpus,
    conda:
        "../../envs/ppl.yaml"
    shell:
        "python -m ppl.refine.train_irnet --data {input.data} {params.train} --labels {input.labels}"
        " --out {output.irnet} --log {output.curve} --code {params.code} {params.training}"
        " --hardware.devices {resources.gpu} --hardware.workers {threads} {params.precision} > {log} 2>&1"


rule train_affinitynet:
    """Trains AffinityNet on confident labels."""
    input:
        data=data_folder,
        labels=shards("results/{experiment}/{method}/{grids}/confident/{shard}"),
    output:
        affinitynet="results/{experiment}/{method}/{grids}/affinitynet.pt",
        curve="results/{experiment}/{method}/{grids}/affinitynet.csv",
    params:
        code=code_hash("ppl.refine.train_affinitynet"),
        train=cli_flag("train-split", "data", "train_split"),
        training=cli_flags("refine", "affinitynet", prefix="training"),
        precision=precision,
    message:
        "{wildcards.experiment} {wildcards.method}/{wildcards.grids}: training of AffinityNet; {log}"
    log:
        "results/{experiment}/logs/{method}/{grids}/affinitynet.log",
    benchmark:
        "results/{experiment}/benchmarks/{method}/{grids}/affinitynet.tsv"
    threads: network_threads
    resources:
        mem_mb=6000,
        runtime=480,
        gpu=gpus,
    conda:
        "../../envs/ppl.yaml"
    shell:
        "python -m ppl.refine.train_affinitynet --data {input.data} {params.train} --labels {input.labels}"
        " --out {output.affinitynet} --log {output.curve} --code {params.code} {params.training}"
        " --hardware.devices {resources.gpu} --hardware.workers {threads} {params.precision} > {log} 2>&1"


rule walk:
    """Pseudo labels: CAMs spread by random walk, as far as the refinement network lets them (Section III-F)."""
    input:
        data=data_folder,
        cams=cams_of("train_split"),
        network=refining_network,
    output:
        directory("results/{experiment}/{method}/{grids}/pseudo/{shard}"),
    params:
        code=code_hash("ppl.refine.pseudo"),
        kind=cli_flag("kind", "refine", "network"),
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
        "python -m ppl.refine.pseudo --data {input.data} --split {params.split} --shard {params.shard}"
        " --cams {input.cams} {params.kind} --network {input.network} --out {output} {params.walk} {params.pairwise}"
        " {params.crf_on}"
        " --hardware.devices {resources.gpu} --hardware.workers {threads} {params.precision} > {log} 2>&1"


rule crf_seeds:
    """Seeds after a CRF, on the split on which they are measured (Table I)."""
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
    """IoU of the seeds after a CRF (Table I); serves measuring only."""
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
    """IoU of the pseudo labels on the split that has masks; serves measuring only."""
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
