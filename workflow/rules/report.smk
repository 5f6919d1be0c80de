rule write_settings:
    """Write the resolved settings of an experiment beside its results."""
    output:
        "results/{experiment}/settings.yaml",
    params:
        code=code_hash("ppl.experiment.stored"),
        settings=flags(
            *("main", "compare", "data", "classify", "cam", "refine", "segment"),
            *("hardware.precision", "hardware.crf", "hardware.shards"),
        ),
        random_seed=lambda wildcards: f"--random_seeds {E[wildcards.experiment].random_seed}",
    message:
        "{wildcards.experiment}: settings; {log}"
    log:
        "results/{experiment}/logs/settings.log",
    benchmark:
        "results/{experiment}/benchmarks/settings.tsv"
    threads: 1
    resources:
        mem_mb=500,
        runtime=5,
    conda:
        "../../envs/ppl.yaml"
    shell:
        "python -m ppl.experiment.stored --out {output} {params.random_seed} {params.settings}"
        " > {log} 2>&1"


rule summary:
    """Write the headline numbers as a machine-readable table: seeds, pseudo labels, network."""
    input:
        settings="results/{experiment}/settings.yaml",
        sweeps=if_masks(paths.sweeps),
        thresholds=if_masks(paths.thresholds),
        measured=if_masks(paths.measures),
    output:
        report(
            "results/{experiment}/summary.csv",
            caption="../report/summary.rst",
            category="{experiment}",
            subcategory="Overview",
            labels={"shows": "mIoU of every step"},
        ),
    params:
        code=code_hash("ppl.report.summary"),
    message:
        "{wildcards.experiment}: summary of the results; {log}"
    log:
        "results/{experiment}/logs/summary.log",
    benchmark:
        "results/{experiment}/benchmarks/summary.tsv"
    threads: 1
    resources:
        mem_mb=500,
        runtime=5,
    conda:
        "../../envs/ppl.yaml"
    shell:
        "python -m ppl.report.summary --settings {input.settings} --sweeps {input.sweeps}"
        " --thresholds {input.thresholds} --measured {input.measured} --out {output} > {log} 2>&1"


rule count_classes:
    """Count the pixels of every class in seeds, pseudo labels and predictions on its labelled photos; reads no mask."""
    input:
        data=data_of("photos+labels train_split", "photos+labels val_split"),
        cams=cams_of("train_split"),
        labels=labels_to_learn,
        threshold="results/{experiment}/{method}/{grids}/threshold.json",
        predictions=predictions_of("val_split"),
    output:
        report(
            "results/{experiment}/{method}/{grids}/classes.csv",
            caption="../report/classes.rst",
            category="{experiment}",
            subcategory="Overview",
            labels={"shows": "pixels per class, without masks"},
        ),
    params:
        code=code_hash("ppl.report.count_classes"),
        state=state_of("photos+labels train_split", "photos+labels val_split"),
        train=split("train_split"),
        val=split("val_split"),
        folders=lambda wildcards, input: [f"{f}/{paths.best_kind(E[wildcards.experiment])}" for f in input.predictions],
    message:
        "{wildcards.experiment} {wildcards.method}/{wildcards.grids}: pixels per class; {log}"
    log:
        "results/{experiment}/logs/{method}/{grids}/classes.log",
    benchmark:
        "results/{experiment}/benchmarks/{method}/{grids}/classes.tsv"
    threads: workers
    resources:
        mem_mb=1000,
        runtime=60,
    conda:
        "../../envs/ppl.yaml"
    shell:
        "python -m ppl.report.count_classes --data {input.data} --train_split {params.train} --val_split {params.val}"
        " --cams {input.cams} --threshold {input.threshold} --labels {input.labels} --predictions {params.folders}"
        " --out {output} --workers {threads} > {log} 2>&1"


rule write_report:
    """Write one self-contained page: numbers, curves, pictures, costs and settings of an experiment."""
    input:
        data=data_folder,
        check=files(paths.data_check),
        settings="results/{experiment}/settings.yaml",
        cams=files(paths.reported_cams),
        reliable=files(paths.reliable_labels),
        pseudo=files(paths.pseudo_labels),
        predictions=files(paths.predictions, "val_split"),
        trainings=files(paths.training_logs),
        checkpoints=files(paths.checkpoints),
        sweeps=if_masks(paths.sweeps),
        thresholds=files(paths.thresholds),
        measured=if_masks(paths.measures),
        repeated=if_masks(paths.repeated_measures),
        classes=files(paths.class_counts),
        # Not part of the page, but of Snakemake's own report about it.
        beside=if_masks(paths.summary_files),
        costs="results/{experiment}/costs.csv",
        curves="results/{experiment}/trainings.png",
    output:
        report(
            "results/{experiment}/report.html",
            caption="../report/page.rst",
            category="{experiment}",
            subcategory="Overview",
            labels={"shows": "the whole page"},
        ),
    params:
        code=code_hash("ppl.report.page"),
        state=state_of(),
        template=part_hash("page.html", "page.css", "page.js"),
        paper=part_hash("paper.csv"),
        benchmarks=with_prefix("results/{experiment}/benchmarks"),
    message:
        "{wildcards.experiment}: report; {log}"
    log:
        "results/{experiment}/logs/report.log",
    benchmark:
        "results/{experiment}/benchmarks/report.tsv"
    threads: workers
    resources:
        mem_mb=2000,
        runtime=15,
    conda:
        "../../envs/ppl.yaml"
    shell:
        "python -m ppl.report.page --experiment {wildcards.experiment} --data {input.data}"
        " --settings {input.settings} --cams {input.cams} --reliable {input.reliable} --pseudo {input.pseudo}"
        " --predictions {input.predictions} --trainings {input.trainings} --checkpoints {input.checkpoints}"
        " --sweeps {input.sweeps} --thresholds {input.thresholds} --measured {input.measured}"
        " --repeated {input.repeated} --classes {input.classes}"
        " --benchmarks {params.benchmarks} --out {output} --workers {threads} > {log} 2>&1"


rule draw_trainings:
    """Draw loss and mAP over the steps of every training on the page."""
    input:
        files(paths.training_logs),
    output:
        report(
            "results/{experiment}/trainings.png",
            caption="../report/trainings.rst",
            category="{experiment}",
            subcategory="Trainings",
            labels={"shows": "loss and mAP"},
        ),
    params:
        code=code_hash("ppl.report.trainings"),
    message:
        "{wildcards.experiment}: curves of the trainings; {log}"
    log:
        "results/{experiment}/logs/trainings.log",
    benchmark:
        "results/{experiment}/benchmarks/trainings.tsv"
    threads: 1
    resources:
        mem_mb=500,
        runtime=5,
    conda:
        "../../envs/ppl.yaml"
    shell:
        "python -m ppl.report.trainings --trainings {input} --out {output} > {log} 2>&1"


rule tabulate_costs:
    """Write minutes and memory of every step, from Snakemake's benchmark files."""
    input:
        files(paths.training_logs),
        files(paths.thresholds),
        if_masks(paths.sweeps),
        if_masks(paths.measures),
    output:
        report(
            "results/{experiment}/costs.csv",
            caption="../report/costs.rst",
            category="{experiment}",
            subcategory="Costs",
            labels={"shows": "minutes and memory"},
        ),
    params:
        code=code_hash("ppl.report.costs"),
        benchmarks=with_prefix("results/{experiment}/benchmarks"),
    message:
        "{wildcards.experiment}: minutes and memory of the steps; {log}"
    log:
        "results/{experiment}/logs/costs.log",
    benchmark:
        "results/{experiment}/benchmarks/costs.tsv"
    threads: 1
    resources:
        mem_mb=500,
        runtime=5,
    conda:
        "../../envs/ppl.yaml"
    shell:
        "python -m ppl.report.costs --benchmarks {params.benchmarks} --out {output} > {log} 2>&1"


rule draw_stages:
    """Draw features after the stem and each stage (Figure 3)."""
    input:
        data=data_of("photos+labels val_split"),
        classifier="results/{experiment}/{method}/{grids}/classifier.pt",
    output:
        "results/{experiment}/{method}/{grids}/stages.png",
    params:
        code=code("ppl.report.stages", "classify.architecture"),
        state=state_of("photos+labels val_split"),
        split=split("val_split"),
    message:
        "{wildcards.experiment} {wildcards.method}/{wildcards.grids}: features of each stage; {log}"
    log:
        "results/{experiment}/logs/{method}/{grids}/stages.log",
    benchmark:
        "results/{experiment}/benchmarks/{method}/{grids}/stages.tsv"
    threads: 1
    resources:
        mem_mb=2000,
        runtime=15,
    conda:
        "../../envs/ppl.yaml"
    shell:
        "python -m ppl.report.stages --data {input.data} --split {params.split} --classifier {input.classifier}"
        " --out {output} > {log} 2>&1"


rule draw_branches:
    """Draw how the maps come about: branches, the sides of patches, fusion, prototypes."""
    input:
        data=data_of("photos+labels train_split"),
        classifier="results/{experiment}/{method}/{grids}/classifier.pt",
    output:
        "results/{experiment}/{method}/{grids}/branches.png",
    params:
        code=code("ppl.report.branches", "cam.method", "cam.{method}", "classify.architecture"),
        state=state_of("photos+labels train_split"),
        split=split("train_split"),
        settings=flags("cam.method", "cam.{method}", "cam.maps", "cam.prototypes"),
    message:
        "{wildcards.experiment} {wildcards.method}/{wildcards.grids}: maps of each branch; {log}"
    log:
        "results/{experiment}/logs/{method}/{grids}/branches.log",
    benchmark:
        "results/{experiment}/benchmarks/{method}/{grids}/branches.tsv"
    threads: 1
    resources:
        mem_mb=2000,
        runtime=15,
    conda:
        "../../envs/ppl.yaml"
    shell:
        "python -m ppl.report.branches --data {input.data} --split {params.split} --classifier {input.classifier}"
        " --out {output} {params.settings} > {log} 2>&1"


rule tabulate:
    """Write the paper's tables and figures for an experiment: ours, beside the paper's if its data are the same."""
    input:
        files=lambda wildcards: plan.files(plan.plan(wildcards.experiment, E)),
        data=data_folder,
    output:
        report(
            directory("results/{experiment}/tables"),
            patterns=["{name}.{form,png|csv}"],
            caption="../report/tables.rst",
            category="{experiment}",
            subcategory="Tables and figures of the paper",
            labels={"file": "{name}.{form}"},
        ),
    params:
        code=code_hash("ppl.report.tables"),
        state=state_of(),
        paper=part_hash("paper.csv"),
        plan=lambda wildcards: with_prefix(json.dumps(plan.plan(wildcards.experiment, E))),
    message:
        "{wildcards.experiment}: the paper's tables and figures; {log}"
    log:
        "results/{experiment}/logs/tables.log",
    benchmark:
        "results/{experiment}/benchmarks/tables.tsv"
    threads: 1
    resources:
        mem_mb=2000,
        runtime=15,
    conda:
        "../../envs/ppl.yaml"
    shell:
        "python -m ppl.report.tables --plan {params.plan:q} --data {input.data} --files {input.files} --out {output}"
        " > {log} 2>&1"
