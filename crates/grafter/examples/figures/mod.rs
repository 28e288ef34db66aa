//! What the experiments draw: means over seeds, with a bar from the smallest value to the largest.

use std::path::{Path, PathBuf};

use grafter::report::chart::{Mark, Plot, Point, Series};

use crate::training::{limits, spread};

/// FOLDER of `--figures FOLDER` on the command line.
pub fn folder() -> Result<Option<PathBuf>, String> {
    let mut arguments = std::env::args_os().skip(1);
    match (arguments.next(), arguments.next(), arguments.next()) {
        (None, ..) => Ok(None),
        (Some(flag), Some(folder), None) if flag == "--figures" => Ok(Some(folder.into())),
        _ => Err("the only argument is `--figures FOLDER`".to_owned()),
    }
}

/// A series to which [`point`]s are added.
pub fn series(name: &str) -> Series {
    Series { name: name.to_owned(), mark: Mark::LineAndPoints, ..Series::default() }
}

/// The mean of the seeds' values between the smallest and the largest.
pub fn point(x: f64, values: &[f64]) -> Point {
    let (low, high) = limits(values);
    Point::new(x, spread(values).0).between(low, high)
}

/// Writes each plot as `FOLDER/NAME.svg`. The folder is made if it is absent.
pub fn write(folder: &Path, plots: &[(&str, Plot)]) -> std::io::Result<()> {
    std::fs::create_dir_all(folder)?;
    plots
        .iter()
        .try_for_each(|(name, plot)| std::fs::write(folder.join(format!("{name}.svg")), plot.to_svg()))
}
