//! The records in the folders of banks and of comparisons.

use std::sync::LazyLock;

use grafter::adapter::{MANIFEST_FILE, Method, WEIGHTS_FILE};
use grafter::bank::{Bank, Probes, TaskName};
use grafter::compare::{CompareFolder, Grid, Plan, Rates, Results};
use grafter::data::Row;
use grafter::digest::sha256_hex;
use grafter::graft::GraftOptions;
use grafter::report;
use serde_json::{Value, json};

use super::base::{ADAPTER, BASE, Folder, SAVED, tell};

struct Good {
    bank: Vec<u8>,
    task: Value,
    probes: Vec<u8>,
}

static GOOD: LazyLock<Good> = LazyLock::new(|| {
    let folder = Folder::new();
    Bank::init(folder.path(), &BASE).expect("an empty folder");
    let bank = std::fs::read(folder.path().join("bank.json")).expect("it was written");
    let probes = Probes::take(&BASE, &ADAPTER, &[Row::single("good bad")]).expect("a good row");
    let probes = serde_json::to_vec(&probes).expect("probes are plain data");
    let version = json!({"version": ADAPTER.digest(), "probes_sha256": sha256_hex(&probes)});
    Good { bank, task: json!({"name": "task", "versions": [version]}), probes }
});

/// A bank of one task; the first byte picks which of `bank.json`, `task.json` and `probes.json` is fuzzed.
pub fn bank(bytes: &[u8]) {
    let Some((choice, file)) = bytes.split_first() else { return };
    let mut task = GOOD.task.clone();
    if choice % 3 == 2 {
        task["versions"][0]["probes_sha256"] = json!(sha256_hex(file));
    }
    let pick = |place, good| if choice % 3 == place { file } else { good };
    let version = format!("tasks/task/{}", ADAPTER.digest());
    let folder = Folder::with(&[
        ("bank.json", pick(0, &GOOD.bank)),
        ("tasks/task/task.json", pick(1, task.to_string().as_bytes())),
        (&format!("{version}/probes.json"), pick(2, &GOOD.probes)),
        (&format!("{version}/{MANIFEST_FILE}"), &SAVED.0),
        (&format!("{version}/{WEIGHTS_FILE}"), &SAVED.1),
    ]);
    let Some(bank) = tell(Bank::open(folder.path())) else { return };
    tell(bank.check_model(&BASE));
    let list = bank.list().expect("the folder of tasks is there");
    assert_eq!(list.tasks.len() + list.broken.len(), 1);
    let name: TaskName = "task".parse().expect("a good name");
    let Some(task) = tell(bank.task(&name)) else { return };
    for entry in &task.versions {
        tell(bank.manifest(&name, &entry.version));
        let adapter = tell(bank.load(&name, &entry.version, &BASE));
        if let (Some(adapter), Some(probes)) = (adapter, tell(bank.probes(&name, entry))) {
            tell(probes.ask_again(&BASE, &adapter));
        }
    }
}

static PLAN: LazyLock<Plan> = LazyLock::new(|| {
    let grid = Grid {
        tasks: vec!["task".to_owned()],
        methods: vec![Method::Houlsby, Method::Head],
        bottlenecks: vec![4],
        learning_rates: Rates::Named(vec![0.001]),
        init_stds: vec![0.01],
        seeds: vec![1, 2],
    };
    let file = json!({"sha256": "0".repeat(64), "rows": 2, "format": null});
    let task = json!({"name": "task", "kind": "classification", "metric": "accuracy", "test": null,
        "columns": {"text": null, "text_b": null, "label": null}, "train": file, "dev": file});
    let mut plan = Plan::new(&BASE, &GraftOptions::default(), &[], grid.planned());
    plan.tasks = vec![serde_json::from_value(task).expect("a good task")];
    plan
});

/// A comparison; the first byte picks which of its plan, the right answers and a trial's record is fuzzed.
pub fn comparison(bytes: &[u8]) {
    let Some((choice, file)) = bytes.split_first() else { return };
    let folder = Folder::new();
    let trials = PLAN.trials();
    match choice % 3 {
        0 => folder.write("compare.json", file),
        1 => folder.write("tasks/task.json", file),
        _ => {
            folder.write("tasks/task.json", br#"{"classes":2,"dev":{"classes":[0,1]},"test":null}"#);
            folder
                .write(&format!("trials/{}.json", trials[usize::from(choice / 3) % trials.len()].id()), file)
        }
    };
    if *choice % 3 != 0 {
        folder.write("compare.json", &serde_json::to_vec(&*PLAN).expect("a plan is plain data"));
    }
    let Some(open) = tell(CompareFolder::open(folder.path(), &PLAN, &[])) else { return };
    if let Some(results) = tell(Results::of(&open)) {
        results.csv();
        report::compare::page(&results, None).to_html();
        for (_, figure) in report::compare::figures(&results) {
            figure.to_svg();
        }
    }
}
