//! `grafter bank`: many tasks of one base in one folder.

use std::path::Path;

use grafter::adapter::{Adapter, BaseRecord};
use grafter::bank::{
    Add, Answered, Bank, BankError, BrokenTask, Incoming, PROBES, Probes, TaskEntry, TaskName, Verdict,
    Verified, Version, generated_rows,
};
use grafter::data::{LabelUse, Row, TaskKind};
use grafter::metrics::Metric;
use grafter::text::escape;
use serde::Serialize;
use serde_json::json;

use super::{open_bank_model, open_model, percent, print, print_json, printable, unlabelled};
use crate::Outcome;
use crate::args::{self, BankAdd, BankInit, BankList, BankRemove, BankVerify};
use crate::failure::Failure;
use crate::sources::Sources;
use crate::terminal::{aligned, bytes, counted, grouped, tell};

pub fn run(command: &args::Bank) -> Result<Outcome, Failure> {
    match command {
        args::Bank::Init(arguments) => init(arguments),
        args::Bank::Add(arguments) => add(arguments),
        args::Bank::List(arguments) => list(arguments),
        args::Bank::Remove(arguments) => remove(arguments),
        args::Bank::Verify(arguments) => verify(arguments),
    }
}

/// What `init --json` prints.
#[derive(Serialize)]
struct Made<'a> {
    bank: &'a Path,
    base: &'a BaseRecord,
}

fn init(arguments: &BankInit) -> Result<Outcome, Failure> {
    let model = open_model(&arguments.model.model, arguments.base)?;
    let bank = Bank::init(&arguments.bank, &model)?;
    if arguments.json {
        print_json(&Made { bank: bank.path(), base: bank.base() })?;
        return Ok(Outcome::Done);
    }
    print(&format!(
        "bank     {}\nbase     {}, {} numbers in {}\n",
        bank.path().display(),
        printable(&bank.base().name),
        grouped(bank.base().parameters),
        bank.base().precision
    ))?;
    Ok(Outcome::Done)
}

fn add(arguments: &BankAdd) -> Result<Outcome, Failure> {
    let bank = Bank::open(&arguments.bank)?;
    // What needs no model first, so that a wrong path is told at once.
    let manifest = grafter::adapter::read_manifest(&arguments.adapter)?;
    let kind = manifest.task.kind;
    let texts = arguments.probes.as_deref().map(|file| probe_rows(file, kind, arguments)).transpose()?;
    let model = open_bank_model(&bank, arguments.model.model.as_deref())?;
    let adapter = Adapter::load(&arguments.adapter, &model)?;
    let (trained, here) = (manifest.base.precision, bank.base().precision);
    if trained != here && manifest.training.is_some() {
        tell(format_args!(
            "warning: the adapter was trained on a base in {trained}, and the bank's is in {here}"
        ));
    }
    let texts = texts.unwrap_or_else(|| generated_rows(kind, manifest.task.pair, manifest.max_length));
    let probes = Probes::take(&model, &adapter, &texts)?;
    let add = if arguments.new_version { Add::NewVersion } else { Add::New };
    let version =
        bank.add(&arguments.task, &Incoming { adapter: &adapter, probes: &probes, companions: &[] }, add)?;
    if arguments.json {
        print_json(&json!({ "task": arguments.task, "version": version }))?;
    } else {
        print(&format!("task     {}@{}\n", arguments.task, version.short()))?;
    }
    Ok(Outcome::Done)
}

/// The first rows of a file, as a task of the kind reads them.
fn probe_rows(file: &Path, kind: TaskKind, arguments: &BankAdd) -> Result<Vec<Row>, Failure> {
    let labels = match unlabelled(&[kind]) {
        // Words may come as plain text, too.
        LabelUse::Tags { .. } => LabelUse::Optional,
        labels => labels,
    };
    let rows = Sources::new(&arguments.rows).source(&[file])?.open(labels)?;
    let rows: Vec<Row> = rows.take(PROBES).collect::<Result<_, _>>()?;
    if rows.is_empty() {
        let message = format!("`{}` has no texts", file.display());
        return Err(Failure::Usage { message, hint: None });
    }
    Ok(rows)
}

fn remove(arguments: &BankRemove) -> Result<Outcome, Failure> {
    Bank::open(&arguments.bank)?.remove(&arguments.task)?;
    tell(format_args!("removed `{}`", arguments.task));
    if arguments.json {
        print_json(&json!({ "removed": arguments.task.to_string() }))?;
    }
    Ok(Outcome::Done)
}

/// What `list --json` prints.
#[derive(Serialize)]
struct Listed {
    base: String,
    base_parameters: usize,
    /// What base and newest versions have together, as a multiple of the base.
    total_times_base: f64,
    tasks: Vec<ListedTask>,
    broken: Vec<ListedBroken>,
}

/// A task that cannot be read, and what lies in the place of one.
#[derive(Serialize)]
struct ListedBroken {
    name: String,
    error: String,
}

/// The newest version of a task.
#[derive(Serialize)]
struct ListedTask {
    name: TaskName,
    version: Version,
    versions: usize,
    method: String,
    labels: Vec<String>,
    trained_parameters: usize,
    share_of_base: f64,
    bytes: u64,
    metric: Metric,
    dev_score: Option<f64>,
}

fn list(arguments: &BankList) -> Result<Outcome, Failure> {
    let bank = Bank::open(&arguments.bank)?;
    let parameters = bank.base().parameters;
    let found = bank.list()?;
    let broken_task = |BrokenTask { name, error }| ListedBroken { name, error: error.to_string() };
    let mut broken: Vec<ListedBroken> = found.broken.into_iter().map(broken_task).collect();
    let mut tasks = Vec::with_capacity(found.tasks.len());
    for task in &found.tasks {
        match listed(&bank, task) {
            Ok(task) => tasks.push(task),
            Err(error) => broken.push(broken_task(BrokenTask { name: task.name.to_string(), error })),
        }
    }
    let added: usize = tasks.iter().map(|task| task.trained_parameters).sum();
    let list = Listed {
        base: bank.base().name.clone(),
        base_parameters: parameters,
        total_times_base: (parameters + added) as f64 / parameters as f64,
        tasks,
        broken,
    };
    if arguments.json {
        print_json(&list)?
    } else {
        print(&list_text(&list))?;
        for ListedBroken { name, error } in &list.broken {
            tell(format_args!("warning: `{}` cannot be read: {}", printable(name), reason(error)));
        }
    }
    Ok(Outcome::Done)
}

fn listed(bank: &Bank, task: &TaskEntry) -> Result<ListedTask, BankError> {
    let version = &task.newest().version;
    let manifest = bank.manifest(&task.name, version)?;
    let folder = bank.version_folder(&task.name, version);
    let size = |name: &str| std::fs::metadata(folder.join(name)).map_or(0, |file| file.len());
    let trained = manifest.trained_parameters;
    Ok(ListedTask {
        name: task.name.clone(),
        version: version.clone(),
        versions: task.versions.len(),
        method: manifest.adapter.method.to_string(),
        labels: manifest.task.labels.clone(),
        trained_parameters: trained,
        share_of_base: trained as f64 / bank.base().parameters as f64,
        bytes: size(grafter::adapter::WEIGHTS_FILE) + size(grafter::adapter::MANIFEST_FILE),
        metric: manifest.metric(),
        dev_score: manifest.dev_score(),
    })
}

/// Why something cannot be read; it quotes names of files, which may hold anything.
fn reason(error: &str) -> String {
    escape(error, 1000)
}

fn list_text(list: &Listed) -> String {
    let header = ["task", "version", "method", "numbers", "of the base", "size", "on dev", ""];
    let mut rows = vec![header.map(str::to_owned).to_vec()];
    for task in &list.tasks {
        rows.push(vec![
            task.name.to_string(),
            task.version.short().to_owned(),
            task.method.clone(),
            grouped(task.trained_parameters),
            percent(task.share_of_base),
            bytes(task.bytes),
            task.dev_score.map_or("–".to_owned(), |score| format!("{} {score:.4}", task.metric)),
            if task.versions > 1 { format!("newest of {}", task.versions) } else { String::new() },
        ]);
    }
    let table = if list.tasks.is_empty() { String::new() } else { aligned(&rows) + "\n" };
    format!(
        "{table}{} on `{}`: {:.2} times its {} numbers in all\n",
        counted(list.tasks.len(), "task"),
        printable(&list.base),
        list.total_times_base,
        grouped(list.base_parameters)
    )
}

/// What `verify --json` prints of a version.
#[derive(Serialize)]
struct VerifiedLine<'a> {
    task: &'a str,
    /// None where the versions themselves cannot be read.
    version: Option<&'a Version>,
    newest: bool,
    verdict: Verdict,
    #[serde(flatten)]
    answered: Option<&'a Answered>,
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<String>,
}

fn verify(arguments: &BankVerify) -> Result<Outcome, Failure> {
    let bank = Bank::open(&arguments.bank)?;
    let model = open_bank_model(&bank, arguments.model.model.as_deref())?;
    let mut output = Ok(());
    let all = bank.verify(&model, |verified| {
        if !arguments.json && output.is_ok() {
            output = print(&verified_text(verified));
        }
    })?;
    output?;
    let changed = all.iter().filter(|verified| verified.verdict() == Verdict::Changed).count();
    if arguments.json {
        let lines: Vec<VerifiedLine<'_>> = all.iter().map(line).collect();
        print_json(&lines)?;
    } else {
        let base = printable(&bank.base().name);
        let digest = &bank.base().weights_sha256[..12];
        let rough = all.iter().filter(|verified| verified.verdict() == Verdict::Similar).count();
        let of_tasks = match (changed, rough) {
            (0, 0) => "nothing was forgotten".to_owned(),
            (0, rough) => format!("none changed, {rough} of them as far as can be told here"),
            (changed, _) => format!("{changed} changed"),
        };
        print(&format!(
            "base `{base}` is {digest}, as when the bank was made; {}: {of_tasks}\n",
            counted(all.len(), "version")
        ))?;
    }
    Ok(if changed > 0 { Outcome::TasksChanged } else { Outcome::Done })
}

fn line(verified: &Verified) -> VerifiedLine<'_> {
    VerifiedLine {
        task: &verified.name,
        version: verified.version.as_ref(),
        newest: verified.newest,
        verdict: verified.verdict(),
        answered: verified.answered.as_ref().ok(),
        error: verified.answered.as_ref().err().map(ToString::to_string),
    }
}

fn verified_text(verified: &Verified) -> String {
    let found = match &verified.answered {
        Ok(Answered::Same { logits }) => format!("same     {} to the last bit", counted(*logits, "logit")),
        Ok(Answered::Similar { answered_by, largest_difference }) => format!(
            "similar  the files are the same; the answers were given by `{}` and differ here by at most {largest_difference:e}",
            printable(answered_by)
        ),
        Ok(Answered::Changed { probe, largest_difference }) => {
            format!(
                "CHANGED  probe {probe} is answered otherwise; the largest difference is {largest_difference:e}"
            )
        }
        Err(error) => format!("CHANGED  {}", reason(&error.to_string())),
    };
    let version = verified.version.as_ref().map_or(String::new(), |version| format!("@{}", version.short()));
    format!("{}{version}  {found}\n", printable(&verified.name))
}
