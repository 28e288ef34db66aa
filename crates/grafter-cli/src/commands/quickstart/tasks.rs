//! The three tasks: their data, built into the program, and texts that are in none of it.

use grafter::bank::TaskName;
use grafter::data::Row;

/// One task of the quickstart.
pub struct Task {
    /// Its folder and how it is called.
    pub name: &'static str,
    /// What it answers, as a question.
    pub asks: &'static str,
    /// The training file.
    pub train: &'static str,
    /// The dev file.
    pub dev: &'static str,
    /// What it is asked after its training.
    pub fresh: &'static [Fresh],
}

impl Task {
    /// Its name in the bank.
    pub fn task_name(&self) -> TaskName {
        self.name.parse().expect("the names are of the form")
    }

    /// Whether its rows are single texts.
    pub fn is_single(&self) -> bool {
        self.fresh.iter().all(|fresh| fresh.text_b.is_none())
    }
}

/// A text, or a pair, that is in none of the files. They were not chosen by what is answered, so some answers are wrong,
/// about as often as on the dev rows.
pub struct Fresh {
    pub text: &'static str,
    pub text_b: Option<&'static str>,
    /// The label that a reader would give.
    pub label: &'static str,
}

impl Fresh {
    const fn single(text: &'static str, label: &'static str) -> Self {
        Self { text, text_b: None, label }
    }

    const fn pair(text: &'static str, text_b: &'static str, label: &'static str) -> Self {
        Self { text, text_b: Some(text_b), label }
    }

    /// The row to be answered.
    pub fn row(&self) -> Row {
        match self.text_b {
            Some(text_b) => Row::pair(self.text, text_b),
            None => Row::single(self.text),
        }
    }
}

/// In the order in which they are trained.
pub const TASKS: [Task; 3] = [
    Task {
        name: "reviews",
        asks: "is the writer pleased or not?",
        train: include_str!("../../../quickstart/reviews/train.tsv"),
        dev: include_str!("../../../quickstart/reviews/dev.tsv"),
        fresh: &[
            Fresh::single("The waiter remembered us from last year and the fish was perfect.", "positive"),
            Fresh::single("Two weeks of use and the handle came off in my hand.", "negative"),
            Fresh::single("I wanted to dislike this film and could not.", "positive"),
        ],
    },
    Task {
        name: "questions",
        asks: "what kind of answer does a question want?",
        train: include_str!("../../../quickstart/questions/train.tsv"),
        dev: include_str!("../../../quickstart/questions/dev.tsv"),
        fresh: &[
            Fresh::single("Who composed the music for this old silent film?", "person"),
            Fresh::single("How many keys are missing on your piano?", "number"),
            Fresh::single("What made the bread sink in the middle?", "reason"),
        ],
    },
    Task {
        name: "paraphrases",
        asks: "do two sentences say the same?",
        train: include_str!("../../../quickstart/paraphrases/train.tsv"),
        dev: include_str!("../../../quickstart/paraphrases/dev.tsv"),
        fresh: &[
            Fresh::pair("The concert was put off until Sunday.", "They moved the concert to Sunday.", "same"),
            Fresh::pair(
                "My aunt lent the neighbour a ladder.",
                "The neighbour lent my aunt a ladder.",
                "different",
            ),
            Fresh::pair(
                "Nobody at the table knew the answer.",
                "No one at the table could answer it.",
                "same",
            ),
        ],
    },
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_texts_that_are_asked_are_in_no_file() {
        for task in &TASKS {
            for fresh in task.fresh {
                for text in [Some(fresh.text), fresh.text_b].into_iter().flatten() {
                    for other in &TASKS {
                        assert!(!other.train.contains(text) && !other.dev.contains(text), "{text}");
                    }
                }
            }
        }
    }

    #[test]
    fn the_labels_are_those_of_the_files() {
        for task in &TASKS {
            for fresh in task.fresh {
                assert!(
                    task.train.lines().any(|row| row.ends_with(&format!("\t{}", fresh.label))),
                    "{}",
                    fresh.label
                );
            }
        }
    }

    #[test]
    fn texts_are_pairs_exactly_where_the_files_are() {
        for task in &TASKS {
            let header = |file: &str| file.lines().next().map(str::to_owned);
            assert_eq!(header(task.train), header(task.dev));
            let pair = task.train.starts_with("sentence1\tsentence2\t");
            assert!(task.fresh.iter().all(|fresh| fresh.text_b.is_some() == pair), "{}", task.name);
        }
    }
}
