rule prepare_data:
    """Write the dataset folder of an experiment from its source: photos, image-level labels, lists and, if any, masks."""
    input:
        files=source_files,
        archives=files(paths.unpacked_archives),
    output:
        directory("results/{experiment}/data"),
    params:
        code=code("ppl.data.prepare", "data.source", "data.{source}"),
        settings=source_settings,
        version=source_state,
        archives=lambda wildcards, input: f"--archives {input.archives}" if input.archives else "",
    wildcard_constraints:
        experiment=named(e for e in E.values() if not e.is_repetition),
    message:
        "{wildcards.experiment}: dataset; {log}"
    log:
        "results/{experiment}/logs/data.log",
    benchmark:
        "results/{experiment}/benchmarks/data.tsv"
    priority: 1
    threads: preparation_threads
    resources:
        mem_mb=growing(6000),
        runtime=240,
    conda:
        "../../envs/ppl.yaml"
    shell:
        "python -m ppl.data.prepare --out {output} {params.settings} {params.archives} --hardware.workers {threads}"
        " > {log} 2>&1"


rule download_archive:
    """Download an archive of a public dataset, resuming an interrupted download."""
    output:
        "resources/archives/{archive}",
    params:
        code=code_hash("ppl.data.sources.download"),
    message:
        "download of {wildcards.archive}; {log}"
    log:
        "resources/logs/{archive}.log",
    benchmark:
        "resources/benchmarks/{archive}.tsv"
    retries: 2
    threads: 1
    resources:
        mem_mb=growing(500),
        runtime=480,
    conda:
        "../../envs/ppl.yaml"
    shell:
        "python -m ppl.data.sources.download --out {output} > {log} 2>&1"


rule unpack_archives:
    """Unpack the archives of a public dataset, once for all experiments on it."""
    input:
        lambda wildcards: paths.archives(wildcards.dataset, E.values()),
    output:
        directory("resources/{dataset}"),
    params:
        code=code_hash("ppl.data.sources.unpack"),
    wildcard_constraints:
        dataset="|".join(SOURCES),
    message:
        "archives of {wildcards.dataset} unpacked; {log}"
    log:
        "resources/logs/{dataset}.log",
    benchmark:
        "resources/benchmarks/{dataset}.tsv"
    threads: 1
    resources:
        mem_mb=growing(1000),
        runtime=120,
    conda:
        "../../envs/ppl.yaml"
    shell:
        "python -m ppl.data.sources.unpack --archives {input} --out {output} > {log} 2>&1"


rule check_data:
    """Check every photo, label and mask before any training, and list all faults at once."""
    input:
        data_folder,
    output:
        "results/{experiment}/check.json",
    params:
        code=code_hash("ppl.data.check"),
        state=state_of(),
        splits=split_flags,
    message:
        "{wildcards.experiment}: check of every photo, label and mask; {log}"
    log:
        "results/{experiment}/logs/check.log",
    benchmark:
        "results/{experiment}/benchmarks/check.tsv"
    threads: workers
    resources:
        mem_mb=growing(2000),
        runtime=60,
    conda:
        "../../envs/ppl.yaml"
    shell:
        "python -m ppl.data.check --data {input} {params.splits} --prepared --out {output} --workers {threads} > {log} 2>&1"
