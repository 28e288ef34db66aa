//! `train --checkpoint-every` and `--resume`: a run that is killed at any instant ends in the same files as one that never was,
//! and two runs never write to one place.

use super::*;

/// Kills of the test below; `GRAFTER_KILLS` asks for more.
const KILLS: u32 = 12;

/// Four steps an epoch, evaluated after every other one; with dropout, so that the masks have to be right too.
fn arguments(epochs: u32, out: &str, seed: u32, threads: usize) -> Vec<String> {
    let fixed = "--bottleneck=8 --max-length=32 --batch-size=2 --lr=0.02 --eval-every=2 --train train.csv --dev dev.csv";
    let mut arguments = vec!["train".to_owned()];
    arguments.extend(fixed.split(' ').map(str::to_owned));
    let more = [
        ("--epochs", epochs.to_string()),
        ("--out", out.to_owned()),
        ("--seed", seed.to_string()),
        ("--threads", threads.to_string()),
    ];
    for (flag, value) in more {
        arguments.extend([flag.to_owned(), value]);
    }
    arguments.extend(["--model".to_owned(), tiny_bert().display().to_string()]);
    arguments
}

fn place() -> Place {
    let place = Place::new();
    place.write("train.csv", OPINIONS);
    place.write("dev.csv", OPINIONS);
    place
}

fn start(place: &Place, arguments: &[String], more: &[&str]) -> Child {
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).chain(more.iter().copied()).collect();
    place.command(&arguments).spawn().unwrap()
}

fn finish(place: &Place, arguments: &[String], more: &[&str]) -> Done {
    Done::of(start(place, arguments, more).wait_with_output().unwrap())
}

/// The files that a run wrote, each with its bytes: the adapter's folder and the log.
fn written(place: &Place, out: &str) -> Vec<(String, Vec<u8>)> {
    let mut files = vec![("log".to_owned(), std::fs::read(place.path(&format!("{out}.log.jsonl"))).unwrap())];
    for entry in std::fs::read_dir(place.path(out)).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_name().unwrap().to_str().unwrap().to_owned();
        files.push((name, std::fs::read(path).unwrap()));
    }
    files.sort_unstable();
    files
}

/// Kills at instants that are spread over the whole of a run, in several runs with other seeds, on one thread and on two, with a
/// checkpoint after every step, so that many fall into the writing of one.
#[test]
fn a_run_that_is_killed_at_any_instant_ends_in_the_same_bytes() {
    let asked = std::env::var("GRAFTER_KILLS").map_or(KILLS, |kills| kills.parse().unwrap());
    let (mut killed, mut in_writing, mut resumed, mut runs) = (0, 0, 0, 0);
    // A sequence of low discrepancy: the fractional parts of the multiples of the golden ratio.
    let mut instant = 0.0_f64;
    while killed < asked {
        runs += 1;
        let place = place();
        let began = Instant::now();
        finish(&place, &arguments(3, "whole", runs, 1), &[]).succeeded();
        let whole = began.elapsed();
        let (mut attempts, mut left) = (0_u32, BTreeSet::new());
        let ends = loop {
            attempts += 1;
            let threads = 1 + killed as usize % 2;
            let mut child =
                start(&place, &arguments(3, "cut", runs, threads), &["--checkpoint-every=1", "--resume"]);
            instant = (instant + 0.618_033_988_75).fract();
            // Longer from time to time: another process may take its share of the machine by now.
            std::thread::sleep(whole.mul_f64((1.1 + 0.02 * f64::from(attempts)) * instant));
            if child.try_wait().unwrap().is_some() {
                break Done::of(child.wait_with_output().unwrap());
            }
            child.kill().unwrap();
            let ends = Done::of(child.wait_with_output().unwrap());
            killed += 1;
            resumed += u32::from(ends.stderr.contains("resumed after step"));
            if place.path("cut").exists() && !has_checkpoint(&place, "cut.checkpoints") {
                // It had done everything but to say so.
                break Done { code: Some(0), ..ends };
            }
            // What a write leaves stays until a later one is whole: it counts once.
            let checkpoints = std::fs::read_dir(place.path("cut.checkpoints")).into_iter().flatten();
            let names = checkpoints.map(|entry| entry.unwrap().file_name().into_string().unwrap());
            let unfinished: BTreeSet<String> = names.filter(|name| name.starts_with(".grafter-")).collect();
            in_writing += u32::from(!unfinished.is_subset(&left));
            left = unfinished;
            if place.path("cut").exists() {
                place.run_bare(&["inspect", "cut"]).succeeded();
            }
        };
        ends.succeeded();
        assert_eq!(written(&place, "cut"), written(&place, "whole"), "seed {runs}");
        assert!(!has_checkpoint(&place, "cut.checkpoints"));
    }
    assert!(resumed > 0, "no run went on from a checkpoint");
    println!(
        "{killed} kills in {runs} runs, {in_writing} of them while a checkpoint was written, {resumed} of processes that had gone \
         on from one: no byte differs"
    );
}

#[test]
fn checkpoints_of_a_run_that_did_not_end_are_not_written_over() {
    let place = place();
    let all = arguments(200, "adapter", 1, 1);
    let mut child = start(&place, &all, &["--checkpoint-every=1"]);
    wait_for_checkpoint(&place, "adapter.checkpoints");
    child.kill().unwrap();
    child.wait().unwrap();
    assert_snapshot!(place.told(&finish(&place, &all, &["--checkpoint-every=1"])), @r"
    exit code 2
    error: `adapter.checkpoints` has the checkpoints of a run that did not end

    hint: `--resume` goes on with it; remove the folder to begin anew
    ");
    // Neither does another run go on with them.
    let mut other = all.clone();
    let seed = other.iter().position(|argument| argument == "--seed").unwrap() + 1;
    other[seed] = "2".to_owned();
    let refused = finish(&place, &other, &["--resume"]);
    assert_eq!(refused.code, Some(2));
    assert!(
        refused.stderr.contains("is of another run: `options.train.seed` was `1`, now it is `2`"),
        "{}",
        refused.stderr
    );
    finish(&place, &all, &["--resume"]).succeeded();
    let names: Vec<String> = place.names().into_iter().collect();
    assert_eq!(names, ["adapter", "adapter.log.jsonl", "dev.csv", "train.csv"]);
    // A finished run is not done again by accident.
    let again = finish(&place, &all, &["--resume"]);
    assert_snapshot!(place.told(&again), @r"
    exit code 2
    error: `adapter` exists

    hint: pass `--overwrite` to replace it
    ");
}

fn has_checkpoint(place: &Place, folder: &str) -> bool {
    let mut entries = std::fs::read_dir(place.path(folder)).into_iter().flatten().flatten();
    entries.any(|entry| entry.file_name().to_string_lossy().starts_with("step-"))
}

fn wait_for_checkpoint(place: &Place, folder: &str) {
    let ends = Instant::now() + PATIENCE;
    while !has_checkpoint(place, folder) {
        assert!(Instant::now() < ends, "no checkpoint came");
        std::thread::sleep(Duration::from_millis(2));
    }
}

#[test]
fn what_asks_to_end_keeps_the_state_and_the_best_so_far() {
    let place = place();
    finish(&place, &arguments(200, "whole", 1, 1), &[]).succeeded();
    for signal in ["-INT", "-TERM"] {
        let all = arguments(200, "adapter", 1, 1);
        let child = start(&place, &all, &["--checkpoint-every=5"]);
        wait_for_checkpoint(&place, "adapter.checkpoints");
        assert!(Command::new("kill").args([signal, &child.id().to_string()]).status().unwrap().success());
        let ended = Done::of(child.wait_with_output().unwrap());
        assert_eq!(ended.code, Some(130), "{}", ended.stderr);
        assert!(
            ended.stderr.contains("the same command with `--resume` goes on from step"),
            "{}",
            ended.stderr
        );
        assert!(ended.stdout.contains("interrupted: the best so far was kept"), "{}", ended.stdout);
        // What the run itself wrote is replaced by what it ends in.
        finish(&place, &all, &["--resume"]).succeeded();
        assert_eq!(written(&place, "adapter"), written(&place, "whole"));
        std::fs::remove_dir_all(place.path("adapter")).unwrap();
    }
}

#[test]
fn an_adapter_of_another_run_is_not_replaced_by_one_that_is_resumed() {
    let place = place();
    let all = arguments(200, "adapter", 1, 1);
    finish(&place, &all, &[]).succeeded();
    let mine = written(&place, "adapter");
    // The same settings, and other rows.
    place.write("train.csv", OPINIONS.replace("film", "music"));
    let mut child = start(&place, &all, &["--checkpoint-every=1", "--overwrite"]);
    wait_for_checkpoint(&place, "adapter.checkpoints");
    child.kill().unwrap();
    child.wait().unwrap();
    let refused = finish(&place, &all, &["--resume"]);
    assert_eq!(refused.code, Some(2));
    assert!(refused.stderr.contains("`adapter` exists"), "{}", refused.stderr);
    let adapter =
        |files: &[(String, Vec<u8>)]| files.iter().find(|(name, _)| name == "adapter.json").cloned();
    assert_eq!(adapter(&written(&place, "adapter")), adapter(&mine));
}

/// The arguments with a task of a bank in the place of a folder.
fn in_bank(bank: &str, mut arguments: Vec<String>) -> Vec<String> {
    let out = arguments.iter().position(|argument| argument == "--out").unwrap();
    arguments.splice(out..=out + 1, ["--bank", bank, "--task", "reviews"].map(str::to_owned));
    arguments
}

#[test]
fn a_second_run_on_one_place_is_refused() {
    let place = place();
    place.run(&["bank", "init", "bank"]).succeeded();
    let all = arguments(4000, "adapter", 1, 1);
    let both = [(all.clone(), "adapter"), (in_bank("bank", all.clone()), "bank.reviews")];
    for (arguments, name) in both {
        let mut first = start(&place, &arguments, &["--checkpoint-every=1"]);
        wait_for_checkpoint(&place, &format!("{name}.checkpoints"));
        let told = format!("error: another run is writing to `{name}`\n");
        let tune = ["tune", "--train=train.csv", "--dev=dev.csv", "--out=adapter", "--trials=trials"];
        let tuned = if name == "adapter" { Some(place.run(&tune)) } else { None };
        assert!(tuned.is_none_or(|tuned| tuned.code == Some(2) && tuned.stderr.starts_with(&told)));
        for more in [&[][..], &["--resume"]] {
            let second = finish(&place, &arguments, more);
            assert_eq!(
                place.told(&second),
                format!("exit code 2\n{told}\nhint: wait until it has ended, or name another place\n")
            );
        }
        #[cfg(unix)]
        if name == "bank.reviews" {
            std::os::unix::fs::symlink(place.path("bank"), place.path("link")).unwrap();
            let linked = finish(&place, &in_bank("link", all.clone()), &[]);
            assert!(linked.stderr.contains("another run is writing to `link.reviews`"), "{}", linked.stderr);
        }
        first.kill().unwrap();
        first.wait().unwrap();
        let resumed = finish(&place, &arguments, &["--resume", "--max-steps=1"]);
        assert!(
            resumed.stderr.contains("is of another run: `options.train.max_steps`"),
            "{}",
            resumed.stderr
        );
    }
}

#[test]
fn a_run_into_a_bank_is_resumed_as_well() {
    let place = place();
    place.run(&["bank", "init", "whole"]).succeeded();
    place.run(&["bank", "init", "cut"]).succeeded();
    let arguments = |bank: &str| in_bank(bank, arguments(200, "", 1, 1));
    finish(&place, &arguments("whole"), &[]).succeeded();
    let child = start(&place, &arguments("cut"), &["--checkpoint-every=1"]);
    wait_for_checkpoint(&place, "cut.reviews.checkpoints");
    assert!(Command::new("kill").args(["-INT", &child.id().to_string()]).status().unwrap().success());
    child.wait_with_output().unwrap();
    finish(&place, &arguments("cut"), &["--resume"]).succeeded();
    let newest = |bank: &str| {
        let task = std::fs::read(place.path(bank).join("tasks/reviews/task.json")).unwrap();
        let task: Value = serde_json::from_slice(&task).unwrap();
        task["versions"].as_array().unwrap().last().unwrap().clone()
    };
    assert_eq!(newest("cut"), newest("whole"));
    assert!(!place.path("cut.reviews.checkpoints").exists());
}

/// Files may not grow beyond what the adapter takes, as on a full disk: a checkpoint takes four times as much.
#[cfg(target_os = "linux")]
#[test]
fn a_run_that_cannot_write_checkpoints_says_so_and_ends_well() {
    let place = place();
    let all = arguments(3, "adapter", 1, 1);
    finish(&place, &arguments(3, "whole", 1, 1), &[]).succeeded();
    let largest = written(&place, "whole").iter().map(|(_, bytes)| bytes.len()).max().unwrap();
    let blocks = largest.div_ceil(512);
    let limited = format!("trap '' XFSZ; ulimit -f {blocks}; exec \"$@\"");
    let mut command = Command::new("sh");
    command
        .args(["-c", &limited, "sh", env!("CARGO_BIN_EXE_grafter")])
        .args(&all)
        .arg("--checkpoint-every=1");
    command.current_dir(place.folder.path()).env("HF_HUB_OFFLINE", "1");
    let ended = Done::of(command.output().unwrap()).succeeded();
    let warning = "warning: no checkpoint can be written to `adapter.checkpoints`: File too large";
    assert!(ended.stderr.contains(warning), "{}", ended.stderr);
    assert_eq!(written(&place, "adapter"), written(&place, "whole"));
    assert!(!place.path("adapter.checkpoints").exists(), "{:?}", place.names());
}

#[test]
fn a_number_of_steps_or_a_time_is_asked_for() {
    let place = place();
    let wrong = finish(&place, &arguments(3, "adapter", 1, 1), &["--checkpoint-every=soon"]);
    assert_eq!(wrong.code, Some(2));
    let expected = "expected a number of steps or a time as in `90s`, `30m` or `1h30m`, found `soon`";
    assert!(wrong.stderr.contains(expected), "{}", wrong.stderr);
}
