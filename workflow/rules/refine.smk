rule label_reliable:
    """Write reliable labels by dense CRF, from the CAMs alone."""
    input:
        data=data_of("photos+labels train_split"),
        cams=cams_of("train_split"),
        threshold=threshold_if(0),
    output:
        directory("results/{experiment}/{method}/{grids}/reliable/{shard}"),
    params:
        code=code_hash("ppl.refine.reliable"),
        state=state_of("photos+labels train_split"),
        split=split("train_split"),
        settings=flags("refine.reliable", "refine.keep_classes", "refine.pairwise", "hardware.crf"),
        threshold=threshold_flag,
        shard=lambda wildcards: wildcards.shard.replace("of", "/"),
    message:
        "{wildcards.experiment} {wildcards.method}/{wildcards.grids}: reliable labels {params.shard}; {log}"
    log:
        "results/{experiment}/logs/{method}/{grids}/reliable-{shard}.log",
    benchmark:
        "results/{experiment}/benchmarks/{method}/{grids}/reliable-{shard}.tsv"
    threads: all_cores
    resources:
        mem_mb=growing(2000),
        runtime=480,
        gpu=crf_gpus,
    conda:
        "../../envs/ppl.yaml"
    shell:
        "python -m ppl.refine.reliable --data {input.data} --split {params.split} --shard {params.shard}"
        " --cams {input.cams} {params.threshold} --out {output} {params.settings}"
        " --hardware.gpu {resources.gpu} --hardware.workers {threads} > {log} 2>&1"


rule train_refiner:
    """Train the refinement network on the reliable labels."""
    input:
        data=data_of("photos+labels train_split"),
        labels=shards("results/{experiment}/{method}/{grids}/reliable/{shard}"),
    output:
        network="results/{experiment}/{method}/{grids}/refiner.pt",
        curve="results/{experiment}/{method}/{grids}/refiner.csv",
    params:
        code=code("ppl.refine.train_refiner", "refine.network", "refine.{network}"),
        state=state_of("photos+labels train_split"),
        train=split("train_split"),
        settings=flags("refine.network", "refine.{network}", "hardware.precision", without="walk"),
        random_seed=random_seed,
        compile=uncompared_flags("hardware.compile"),
    message:
        "{wildcards.experiment} {wildcards.method}/{wildcards.grids}: training of the refinement network; {log}"
    log:
        "results/{experiment}/logs/{method}/{grids}/refiner.log",
    benchmark:
        "results/{experiment}/benchmarks/{method}/{grids}/refiner.tsv"
    threads: network_threads
    resources:
        mem_mb=growing(6000),
        runtime=480,
        gpu=gpus,
    conda:
        "../../envs/ppl.yaml"
    shell:
        "python -m ppl.refine.train_refiner --data {input.data} --train_split {params.train} --labels {input.labels}"
        " --out {output.network} --log {output.curve} --code {params.code} {params.random_seed} {params.settings}"
        " --hardware.gpu {resources.gpu} --hardware.workers {threads} {params.compile} > {log} 2>&1"


rule walk:
    """Write pseudo labels: CAMs after a random walk that the refinement network guides (Section III-F)."""
    input:
        data=data_of("photos+labels train_split"),
        cams=cams_of("train_split"),
        network="results/{experiment}/{method}/{grids}/refiner.pt",
        threshold=threshold_if(1),
    output:
        directory("results/{experiment}/{method}/{grids}/pseudo/{shard}"),
    params:
        code=code("ppl.refine.walk_split", "refine.network", "refine.{network}"),
        state=state_of("photos+labels train_split"),
        walk=lambda wildcards: parameters.walk_code(settings_of(wildcards)),
        split=split("train_split"),
        settings=flags(
            "refine.network",
            "refine.{network}",
            "refine.labels.margins",
            "refine.keep_classes",
            "refine.pairwise",
            "hardware.precision",
            "hardware.crf",
        ),
        threshold=threshold_flag,
        shard=lambda wildcards: wildcards.shard.replace("of", "/"),
    wildcard_constraints:
        experiment=named(e for e in E.values() if paths.has_refiner(e)),
    message:
        "{wildcards.experiment} {wildcards.method}/{wildcards.grids}: pseudo labels by random walk {params.shard}; {log}"
    log:
        "results/{experiment}/logs/{method}/{grids}/pseudo-{shard}.log",
    benchmark:
        "results/{experiment}/benchmarks/{method}/{grids}/pseudo-{shard}.tsv"
    threads: network_threads
    resources:
        mem_mb=growing(4000),
        runtime=480,
        gpu=one_gpu,
    conda:
        "../../envs/ppl.yaml"
    shell:
        "python -m ppl.refine.walk_split --data {input.data} --split {params.split} --shard {params.shard}"
        " --cams {input.cams} --network {input.network} {params.threshold} --out {output} {params.settings}"
        " --hardware.gpu {resources.gpu} --hardware.workers {threads} > {log} 2>&1"


crf_keys = ("refine.reliable.confidence", "refine.reliable.iterations", "refine.pairwise", "hardware.crf")
crf_settings = flags(*crf_keys)
pseudo_settings = flags(*crf_keys, "refine.labels.margins", "refine.keep_classes")


rule crf_seeds:
    """Write seeds after a CRF, on the split on which they are measured (Table I)."""
    input:
        data=data_of("photos+labels seed_split"),
        cams=cams_of("seed_split"),
        threshold="results/{experiment}/{method}/{grids}/threshold.json",
    output:
        directory("results/{experiment}/{method}/{grids}/seed-crf/{shard}"),
    params:
        code=code_hash("ppl.refine.crf_seeds"),
        state=state_of("photos+labels seed_split"),
        split=split("seed_split"),
        settings=crf_settings,
        shard=lambda wildcards: wildcards.shard.replace("of", "/"),
    message:
        "{wildcards.experiment} {wildcards.method}/{wildcards.grids}: seeds with CRF {params.shard}; {log}"
    log:
        "results/{experiment}/logs/{method}/{grids}/seed-crf-{shard}.log",
    benchmark:
        "results/{experiment}/benchmarks/{method}/{grids}/seed-crf-{shard}.tsv"
    threads: all_cores
    resources:
        mem_mb=growing(2000),
        runtime=480,
        gpu=crf_gpus,
    conda:
        "../../envs/ppl.yaml"
    shell:
        "python -m ppl.refine.crf_seeds --data {input.data} --split {params.split} --shard {params.shard}"
        " --cams {input.cams} --threshold {input.threshold} --out {output} {params.settings}"
        " --hardware.gpu {resources.gpu} --hardware.workers {threads} > {log} 2>&1"


use rule crf_seeds as crf_pseudo with:
    input:
        data=data_of("photos+labels train_split"),
        cams=cams_of("train_split"),
        threshold="results/{experiment}/{method}/{grids}/threshold.json",
    output:
        directory("results/{experiment}/{method}/{grids}/pseudo/{shard}"),
    params:
        code=code_hash("ppl.refine.crf_seeds"),
        state=state_of("photos+labels train_split"),
        split=split("train_split"),
        settings=pseudo_settings,
        shard=lambda wildcards: wildcards.shard.replace("of", "/"),
    wildcard_constraints:
        experiment=named(e for e in E.values() if not paths.has_refiner(e)),
    message:
        "{wildcards.experiment} {wildcards.method}/{wildcards.grids}: pseudo labels by CRF {params.shard}; {log}"
    log:
        "results/{experiment}/logs/{method}/{grids}/pseudo-{shard}.log",
    benchmark:
        "results/{experiment}/benchmarks/{method}/{grids}/pseudo-{shard}.tsv"


rule agree_labels:
    """Write the pseudo labels on which variants agree."""
    input:
        data=data_of("photos+labels train_split"),
        labels=labels_to_agree,
    output:
        directory("results/{experiment}/{method}/{grids}/agreed/{shard}"),
    params:
        code=code_hash("ppl.refine.agree"),
        state=state_of("photos+labels train_split"),
        split=split("train_split"),
        shard=lambda wildcards: wildcards.shard.replace("of", "/"),
    message:
        "{wildcards.experiment} {wildcards.method}/{wildcards.grids}: agreement of pseudo labels {params.shard}; {log}"
    log:
        "results/{experiment}/logs/{method}/{grids}/agreed-{shard}.log",
    benchmark:
        "results/{experiment}/benchmarks/{method}/{grids}/agreed-{shard}.tsv"
    threads: workers
    resources:
        mem_mb=growing(1000),
        runtime=60,
    conda:
        "../../envs/ppl.yaml"
    shell:
        "python -m ppl.refine.agree --data {input.data} --split {params.split} --shard {params.shard}"
        " --labels {input.labels} --out {output} --workers {threads} > {log} 2>&1"


rule best_crf_seeds:
    """Write seeds after a CRF at the best threshold of their sweep (Table I); that threshold is tuned on masks."""
    input:
        data=data_of("photos+labels seed_split"),
        cams=cams_of("seed_split"),
        sweep="results/{experiment}/{method}/{grids}/sweep.csv",
    output:
        directory("results/{experiment}/{method}/{grids}/seed-best-crf/{shard}"),
    params:
        code=code_hash("ppl.measure.best_crf_seeds"),
        state=state_of("photos+labels seed_split"),
        split=split("seed_split"),
        settings=crf_settings,
        shard=lambda wildcards: wildcards.shard.replace("of", "/"),
    message:
        "{wildcards.experiment} {wildcards.method}/{wildcards.grids}: best seeds with CRF {params.shard}; {log}"
    log:
        "results/{experiment}/logs/{method}/{grids}/seed-best-crf-{shard}.log",
    benchmark:
        "results/{experiment}/benchmarks/{method}/{grids}/seed-best-crf-{shard}.tsv"
    threads: all_cores
    resources:
        mem_mb=growing(2000),
        runtime=480,
        gpu=crf_gpus,
    conda:
        "../../envs/ppl.yaml"
    shell:
        "python -m ppl.measure.best_crf_seeds --data {input.data} --split {params.split} --shard {params.shard}"
        " --cams {input.cams} --sweep {input.sweep} --out {output} {params.settings}"
        " --hardware.gpu {resources.gpu} --hardware.workers {threads} > {log} 2>&1"


rule measure_crf_seeds:
    """Measure IoU of the seeds after a CRF (Table I); reads masks."""
    input:
        data=data_of("masks+labels seed_split"),
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
        state=state_of("masks+labels seed_split"),
        split=split("seed_split"),
    message:
        "{wildcards.experiment} {wildcards.method}/{wildcards.grids}: seeds with CRF measured; {log}"
    log:
        "results/{experiment}/logs/{method}/{grids}/measure-seed-crf.log",
    benchmark:
        "results/{experiment}/benchmarks/{method}/{grids}/measure-seed-crf.tsv"
    threads: workers
    resources:
        mem_mb=growing(1000),
        runtime=30,
    conda:
        "../../envs/ppl.yaml"
    shell:
        "python -m ppl.measure.label_maps --data {input.data} --split {params.split} --predictions {input.labels}"
        " --name 'seeds, CRF' --out {output} --workers {threads} > {log} 2>&1"


use rule measure_crf_seeds as measure_best_crf_seeds with:
    input:
        data=data_of("masks+labels seed_split"),
        labels=shards("results/{experiment}/{method}/{grids}/seed-best-crf/{shard}"),
    output:
        report(
            "results/{experiment}/{method}/{grids}/seed-best-crf.csv",
            caption="../report/seed-best-crf.rst",
            category="{experiment}",
            subcategory="Seeds",
            labels={"shows": "IoU per class, best threshold, with CRF", "method": "{method}", "grids": "{grids}"},
        ),
    message:
        "{wildcards.experiment} {wildcards.method}/{wildcards.grids}: best seeds with CRF measured; {log}"
    log:
        "results/{experiment}/logs/{method}/{grids}/measure-seed-best-crf.log",
    benchmark:
        "results/{experiment}/benchmarks/{method}/{grids}/measure-seed-best-crf.tsv"


rule measure_pseudo:
    """Measure IoU of the pseudo labels on the seed split; reads masks."""
    input:
        data=data_of("masks+labels seed_split"),
        labels=labels_to_learn,
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
        state=state_of("masks+labels seed_split"),
        split=split("seed_split"),
    message:
        "{wildcards.experiment} {wildcards.method}/{wildcards.grids}: pseudo labels measured; {log}"
    log:
        "results/{experiment}/logs/{method}/{grids}/measure-pseudo.log",
    benchmark:
        "results/{experiment}/benchmarks/{method}/{grids}/measure-pseudo.tsv"
    threads: workers
    resources:
        mem_mb=growing(1000),
        runtime=30,
    conda:
        "../../envs/ppl.yaml"
    shell:
        "python -m ppl.measure.label_maps --data {input.data} --split {params.split} --predictions {input.labels}"
        " --name 'pseudo labels' --partial --out {output} --workers {threads} > {log} 2>&1"
