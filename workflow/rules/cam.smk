rule export_cams:
    """Write the class activation maps of a split, or of a shard of it (Section III-E)."""
    input:
        data=data_of("photos+labels split"),
        classifier="results/{experiment}/{method}/{grids}/classifier.pt",
    output:
        "results/{experiment}/{method}/{grids}/cams/{split}-{shard}.h5",
    params:
        code=code("ppl.cam.export", "cam.method", "cam.{method}", "classify.architecture"),
        state=state_of("photos+labels split"),
        settings=flags("cam.method", "cam.{method}", "cam.maps", "cam.prototypes", "hardware.precision"),
        shard=lambda wildcards: wildcards.shard.replace("of", "/"),
        compile=uncompared_flags("hardware.compile"),
    message:
        "{wildcards.experiment} {wildcards.method}/{wildcards.grids}: CAMs, {wildcards.split} {params.shard}; {log}"
    log:
        "results/{experiment}/logs/{method}/{grids}/cams-{split}-{shard}.log",
    benchmark:
        "results/{experiment}/benchmarks/{method}/{grids}/cams-{split}-{shard}.tsv"
    threads: network_threads
    resources:
        mem_mb=growing(4000),
        runtime=480,
        gpu=one_gpu,
    conda:
        "../../envs/ppl.yaml"
    shell:
        "python -m ppl.cam.export --data {input.data} --split {wildcards.split} --shard {params.shard}"
        " --classifier {input.classifier} --out {output} {params.settings}"
        " --hardware.gpu {resources.gpu} --hardware.workers {threads} {params.compile} > {log} 2>&1"


rule choose_threshold:
    """Write the background threshold of the seeds: the configured number, or one chosen without masks."""
    input:
        data=if_auto(data_of("photos+labels train_split"), []),
        cams=if_auto(cams_of("train_split"), []),
        classifier=if_auto(
            lambda wildcards: "results/{experiment}/{method}/{grids}/classifier.pt".format(**wildcards), []
        ),
    output:
        "results/{experiment}/{method}/{grids}/threshold.json",
    params:
        code=if_auto(code("ppl.cam.choose_threshold", "classify.architecture"), code_hash("ppl.cam.threshold")),
        state=if_auto(state_of("photos+labels train_split"), datasets.NotCompared()),
        settings=flags("cam.threshold"),
        split=if_auto(lambda wildcards: f"--split {settings_of(wildcards).data.train_split}", ""),
        inputs=lambda wildcards, input: (
            f"--data {input.data} --cams {input.cams} --classifier {input.classifier}" if input.cams else ""
        ),
    message:
        "{wildcards.experiment} {wildcards.method}/{wildcards.grids}: threshold of the seeds; {log}"
    log:
        "results/{experiment}/logs/{method}/{grids}/threshold.log",
    benchmark:
        "results/{experiment}/benchmarks/{method}/{grids}/threshold.tsv"
    threads: if_auto(network_threads, 1)
    resources:
        mem_mb=lambda wildcards, attempt: attempt * (4000 if is_auto(wildcards) else 500),
        runtime=60,
        gpu=if_auto(one_gpu, 0),
    conda:
        "../../envs/ppl.yaml"
    shell:
        "python -m ppl.cam.choose_threshold {params.split} {params.inputs} --out {output} {params.settings}"
        " --hardware.gpu {resources.gpu} --hardware.workers {threads} > {log} 2>&1"


rule sweep_seeds:
    """Measure the seeds at every background threshold; reads masks."""
    input:
        data=data_of("masks+labels seed_split"),
        cams=cams_of("seed_split"),
    output:
        report(
            "results/{experiment}/{method}/{grids}/sweep.csv",
            caption="../report/sweep.rst",
            category="{experiment}",
            subcategory="Seeds",
            labels={"shows": "every threshold", "method": "{method}", "grids": "{grids}"},
        ),
    params:
        code=code_hash("ppl.measure.sweep"),
        state=state_of("masks+labels seed_split"),
        split=split("seed_split"),
    message:
        "{wildcards.experiment} {wildcards.method}/{wildcards.grids}: seeds measured at every threshold; {log}"
    log:
        "results/{experiment}/logs/{method}/{grids}/sweep.log",
    benchmark:
        "results/{experiment}/benchmarks/{method}/{grids}/sweep.tsv"
    threads: workers
    resources:
        mem_mb=growing(2000),
        runtime=60,
    conda:
        "../../envs/ppl.yaml"
    shell:
        "python -m ppl.measure.sweep --data {input.data} --split {params.split} --cams {input.cams} --out {output}"
        " --workers {threads} > {log} 2>&1"


rule draw_curves:
    """Draw mIoU over the threshold, and precision over recall, for every compared variant (Figures 7 and 9)."""
    input:
        sweeps=files(paths.sweeps),
        thresholds=files(paths.thresholds),
    output:
        report(
            "results/{experiment}/curves.png",
            caption="../report/curves.rst",
            category="{experiment}",
            subcategory="Seeds",
            labels={"shows": "curves", "method": "all compared"},
        ),
    params:
        code=code_hash("ppl.measure.curves"),
        names=files(paths.compared_variants),
    message:
        "{wildcards.experiment}: curves of the seeds; {log}"
    log:
        "results/{experiment}/logs/curves.log",
    benchmark:
        "results/{experiment}/benchmarks/curves.tsv"
    threads: 1
    resources:
        mem_mb=growing(500),
        runtime=5,
    conda:
        "../../envs/ppl.yaml"
    shell:
        "python -m ppl.measure.curves --sweeps {input.sweeps} --thresholds {input.thresholds} --names {params.names}"
        " --out {output} > {log} 2>&1"
