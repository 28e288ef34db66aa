//! `import` and `export`: adapters of AdapterHub.

use super::*;

/// What AdapterHub's files can hold.
const HELD: [&str; 5] =
    ["--freeze-layernorm", "--pooling=first", "--head=dense", "--bottleneck=8", "--max-length=32"];

impl Place {
    /// An adapter for `good` (1) and `bad` (0) in `adapter`, trained with these flags.
    fn trained_with(flags: &[&str]) -> Self {
        let place = Self::new();
        place.write("train.csv", OPINIONS);
        let files =
            ["train", "--train", "train.csv", "--dev", "train.csv", "--out", "adapter", "--no-dropout"];
        let short = ["--epochs", "10", "--batch-size", "4", "--lr", "0.02"];
        place.run(&[&files[..], &short, flags].concat()).succeeded();
        place
    }
}

#[test]
fn an_adapter_goes_out_and_comes_back() {
    let place = Place::trained_with(&HELD);
    let exported = place.run(&["export", "--adapter=adapter", "--out=out", "--name=opinions", "--json"]);
    let exported = exported.succeeded().json();
    assert_eq!(exported["lost"], serde_json::json!([]));
    assert_eq!(exported["files"].as_array().unwrap().len(), 5);
    let card = std::fs::read_to_string(place.path("out/README.md")).unwrap();
    assert!(card.starts_with("---\nlibrary_name: adapters\n") && card.contains("## Scores"), "{card}");
    let imported =
        place.run(&["import", "out", "--out=again", "--max-length=32", "--json"]).succeeded().json();
    assert_eq!(imported["manifest"]["imported"]["name"], "opinions");
    assert_eq!(imported["manifest"]["imported"]["base"], "tiny-bert");

    let answers =
        |adapter: &str| place.run(&["predict", "--adapter", adapter, "--input=train.csv"]).succeeded().stdout;
    assert_eq!(answers("again"), answers("adapter"));
    assert_ne!(answers("again"), "");
    // What knows nothing of its training is a task like any other.
    let scores = place.run(&["eval", "--adapter=again", "--data=train.csv", "--json"]).succeeded().json();
    assert_eq!(scores["labels"], serde_json::json!(["0", "1"]));
    let made = place.run(&["bank", "init", "bank", "--json"]).succeeded().json();
    assert_eq!((&made["bank"], &made["base"]["name"]), (&Value::from("bank"), &Value::from("tiny-bert")));
    let added = ["bank", "add", "bank", "again", "--task=opinions", "--probes=train.csv", "--json"];
    let added = place.run(&added).succeeded().json();
    let listed = place.run_bare(&["bank", "list", "bank", "--json"]).succeeded().json();
    assert_eq!(listed["tasks"][0]["dev_score"], Value::Null, "{listed}");
    assert_eq!(listed["tasks"][0]["version"], added["version"], "{listed}");
    place.run_bare(&["bank", "list", "bank"]).succeeded();
    let removed = place.run_bare(&["bank", "remove", "bank", "opinions", "--json"]).succeeded().json();
    assert_eq!(removed["removed"], "opinions");
    let told = place.run_bare(&["inspect", "again"]).succeeded().stdout;
    assert!(
        told.contains("imported     `opinions` of AdapterHub adapters.1.3.0, trained on `tiny-bert`\n"),
        "{told}"
    );
    let card = std::fs::read_to_string(place.path("again/README.md")).unwrap();
    assert!(card.contains("## Origin") && !card.contains("## Scores"), "{card}");
    let told = place.run(&["import", "out", "--out=again", "--overwrite"]).succeeded().stdout;
    assert!(told.starts_with("imported     `opinions` of AdapterHub adapters.1.3.0\n"), "{told}");
    let told = place.run(&["export", "--adapter=again", "--out=out2"]).succeeded().stdout;
    assert!(told.contains("\"out2\", use_safetensors=True"), "{told}");
}

#[test]
fn what_the_files_cannot_hold_is_refused_unless_asked_for() {
    let place = Place::trained_with(&["--pooling=mean", "--bottleneck=8", "--max-length=32"]);
    let refused = place.run(&["export", "--adapter=adapter", "--out=out"]);
    assert_snapshot!(place.told(&refused), @r"
    exit code 2
    error: AdapterHub's files cannot hold the trained layer normalisations (320 numbers) and the head, since none there reads by `mean` pooling

    hint: `grafter train` with `--freeze-layernorm` and `--pooling first --head dense` trains what they hold; `--allow-loss` writes the rest
    ");
    assert!(!place.path("out").exists());
    let lossy = place.run(&["export", "--adapter=adapter", "--out=out", "--allow-loss"]).succeeded();
    assert_eq!(lossy.stderr.matches("warning: left out: ").count(), 2, "{}", lossy.stderr);
    assert_eq!(std::fs::read_dir(place.path("out")).unwrap().count(), 3);
    let card = std::fs::read_to_string(place.path("out/README.md")).unwrap();
    assert!(card.contains("Not all that was trained") && !card.contains("## Scores"), "{card}");
    // Without its head nothing is to be read back.
    assert_snapshot!(place.told(&place.run(&["import", "out", "--out=again"])), @r"
    exit code 2
    error: `out` has no `head_config.json`, so that nothing reads the adapter's hidden states

    hint: save the adapter with its head: `model.save_adapter(folder, name, with_head=True)`
    ");
    assert_snapshot!(place.told(&place.run(&["export", "--adapter=adapter", "--out=out", "--allow-loss"])), @r"
    exit code 2
    error: `out` exists and is not empty

    hint: name another folder, or one that is not there yet
    ");
    let name = ["export", "--adapter=adapter", "--out=other", "--allow-loss", "--name=a.b"];
    assert_snapshot!(place.told(&place.run(&name)), @r"
    exit code 2
    error: `a.b` cannot be an adapter's name there: letters, digits, `_` and `-` can, but for what PyTorch's modules have themselves, as `train`

    hint: pass `--name <NAME>`
    ");
}

#[test]
fn a_folder_of_something_else_is_refused() {
    let place = Place::new();
    std::fs::create_dir(place.path("lora")).unwrap();
    assert_snapshot!(place.told(&place.run(&["import", "lora", "--out=again"])), @r"
    exit code 2
    error: cannot read `lora/adapter_config.json`: No such file or directory (os error 2)

    hint: an adapter of AdapterHub is the folder that `model.save_adapter` wrote
    ");
    place.write("lora/adapter_config.json", r#"{"peft_type": "LORA", "r": 8}"#);
    assert_snapshot!(place.told(&place.run(&["import", "lora", "--out=again"])), @r"
    exit code 2
    error: `lora/adapter_config.json` describes an adapter of PEFT (`peft_type` is `LORA`), not a bottleneck adapter
    ");
    assert!(!place.path("again").exists());
}
