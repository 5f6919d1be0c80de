rule compose_demo:
    """Compose the embedded demo from photographs of the package, with exact masks."""
    output:
        directory("results/{experiment}/data"),
    params:
        code=code_hash("ppl.data.sources.demo"),
        seed=cli_flag("seed", "data", "seed"),
        size=cli_flag("size", "data", "size"),
        train=cli_flag("train", "data", "train"),
        val=cli_flag("val", "data", "val"),
        test=cli_flag("test", "data", "test"),
    wildcard_constraints:
        experiment=own_data("demo"),
    message:
        "{wildcards.experiment}: photos and masks of the demo; {log}"
    log:
        "results/{experiment}/logs/data.log",
    benchmark:
        "results/{experiment}/benchmarks/data.tsv"
    threads: workers
    resources:
        mem_mb=1000,
        runtime=15,
    conda:
        "../../envs/ppl.yaml"
    shell:
        "python -m ppl.data.sources.demo --out {output} {params.seed} {params.size} {params.train} {params.val} {params.test}"
        " --workers {threads} > {log} 2>&1"


rule link_folder:
    """Link the user's photos, shrink large ones, and copy the lists."""
    input:
        user_lists,
    output:
        directory("results/{experiment}/data"),
    params:
        code=code_hash("ppl.data.sources.folder"),
        path=setting("data", "path"),
        splits=lambda wildcards: sorted(set(paths.splits(E[wildcards.experiment]).values())),
        max_side=cli_flag_if_set("max_side", "data", "max_side"),
    wildcard_constraints:
        experiment=own_data("folder"),
    message:
        "{wildcards.experiment}: links to the photos in {params.path}; {log}"
    log:
        "results/{experiment}/logs/data.log",
    benchmark:
        "results/{experiment}/benchmarks/data.tsv"
    threads: workers
    resources:
        mem_mb=4000,
        runtime=240,
    conda:
        "../../envs/ppl.yaml"
    shell:
        "python -m ppl.data.sources.folder --path {params.path:q} --splits {params.splits:q} --out {output} {params.max_side}"
        " --workers {threads} > {log} 2>&1"


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
        mem_mb=500,
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
        dataset="voc|coco",
    message:
        "archives of {wildcards.dataset} unpacked; {log}"
    log:
        "resources/logs/{dataset}.log",
    benchmark:
        "resources/benchmarks/{dataset}.tsv"
    threads: 1
    resources:
        mem_mb=1000,
        runtime=120,
    conda:
        "../../envs/ppl.yaml"
    shell:
        "python -m ppl.data.sources.unpack --archives {input} --out {output} > {log} 2>&1"


rule prepare_voc:
    """Write a dataset folder of VOC 2012 and SBD: linked photos and masks, decoded masks of SBD, labels from the XML."""
    input:
        files(paths.unpacked_archives),
    output:
        directory("results/{experiment}/data"),
    params:
        code=code_hash("ppl.data.sources.voc"),
        path=lambda wildcards, input: setting("data")(wildcards).get("path") or str(input),
    wildcard_constraints:
        experiment=own_data("voc"),
    message:
        "{wildcards.experiment}: photos, masks and labels of VOC and SBD; {log}"
    log:
        "results/{experiment}/logs/data.log",
    benchmark:
        "results/{experiment}/benchmarks/data.tsv"
    threads: workers
    resources:
        mem_mb=2000,
        runtime=60,
    conda:
        "../../envs/ppl.yaml"
    shell:
        "python -m ppl.data.sources.voc --root {params.path:q} --out {output} --workers {threads} > {log} 2>&1"


rule prepare_coco:
    """Write a dataset folder of COCO 2014: linked photos, masks and labels from its instances."""
    input:
        files(paths.unpacked_archives),
    output:
        directory("results/{experiment}/data"),
    params:
        code=code_hash("ppl.data.sources.coco"),
        path=lambda wildcards, input: setting("data")(wildcards).get("path") or str(input),
        convention=setting("data", "coco_convention"),
    wildcard_constraints:
        experiment=own_data("coco"),
    message:
        "{wildcards.experiment}: photos, masks and labels of COCO; {log}"
    log:
        "results/{experiment}/logs/data.log",
    benchmark:
        "results/{experiment}/benchmarks/data.tsv"
    threads: workers
    resources:
        mem_mb=6000,
        runtime=120,
    conda:
        "../../envs/ppl.yaml"
    shell:
        "python -m ppl.data.sources.coco --root {params.path:q} --convention {params.convention} --out {output}"
        " --workers {threads} > {log} 2>&1"


rule check_data:
    """Check every photo, label and mask before any training, and list all faults at once."""
    input:
        "results/{experiment}/data",
    output:
        "results/{experiment}/check.json",
    params:
        code=code_hash("ppl.data.check"),
        splits=lambda wildcards: configuration.cli_flags(paths.splits(E[wildcards.experiment])),
    message:
        "{wildcards.experiment}: check of every photo, label and mask; {log}"
    log:
        "results/{experiment}/logs/check.log",
    benchmark:
        "results/{experiment}/benchmarks/check.tsv"
    threads: workers
    resources:
        mem_mb=2000,
        runtime=60,
    conda:
        "../../envs/ppl.yaml"
    shell:
        "python -m ppl.data.check --data {input} {params.splits} --out {output} --workers {threads} > {log} 2>&1"
