//! Which setting is best: one rule for the tables, the figures and the averages.

use super::SettingResult;

/// Of the settings with a score of each trial, those with most finished trials, and those of them in which none
/// diverged (if there are any), the one with the best mean on dev; the first of equals. With each setting comes its key, which
/// is given back.
pub(crate) fn best_of<'a, K>(
    settings: impl IntoIterator<Item = (K, &'a SettingResult)>,
) -> Option<(K, &'a SettingResult)> {
    let rank = |setting: &SettingResult| (setting.seeds.len(), std::cmp::Reverse(setting.diverged.min(1)));
    let scored = settings.into_iter().filter_map(|(key, setting)| Some((key, setting, setting.dev?.mean)));
    let better = |best: &(K, &SettingResult, f64), other: &(K, &SettingResult, f64)| {
        rank(other.1).cmp(&rank(best.1)).then(other.2.total_cmp(&best.2)).is_gt()
    };
    let best = scored.reduce(|best, other| if better(&best, &other) { other } else { best })?;
    Some((best.0, best.1))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::adapter::Method;
    use crate::compare::{Setting, Spread};

    fn setting(learning_rate: f64, seeds: usize, dev: Option<f64>) -> SettingResult {
        SettingResult {
            setting: Setting { method: Method::Head, bottleneck: None, learning_rate, init_std: None },
            planned: seeds,
            seeds: (0..seeds as u64).collect(),
            diverged: 0,
            dev: dev.map(|mean| Spread { mean, std: None }),
            test: None,
            trained_parameters: None,
            share_of_base: None,
            seconds: None,
            adapter_bytes: None,
        }
    }

    fn best(settings: &[SettingResult]) -> Option<usize> {
        best_of(settings.iter().enumerate()).map(|(place, _)| place)
    }

    #[test]
    fn the_best_setting_is_chosen_among_those_with_as_many_seeds() {
        assert_eq!(best(&[]), None);
        assert_eq!(best(&[setting(0.1, 2, None), setting(0.2, 0, None)]), None);
        assert_eq!(best(&[setting(0.1, 2, Some(0.5)), setting(0.2, 2, Some(0.7))]), Some(1));
        assert_eq!(
            best(&[setting(0.1, 2, Some(0.5)), setting(0.2, 2, Some(0.5))]),
            Some(0),
            "first of equals"
        );
        assert_eq!(best(&[setting(0.1, 3, Some(0.5)), setting(0.2, 1, Some(0.9))]), Some(0), "fewer seeds");
        let unstable = SettingResult { diverged: 1, ..setting(0.2, 2, Some(0.9)) };
        assert_eq!(best(&[setting(0.1, 2, Some(0.5)), unstable.clone()]), Some(0), "diverged late");
        assert_eq!(best(&[unstable]), Some(0), "and no other");
        assert_eq!(best(&[setting(0.1, 3, None), setting(0.2, 2, Some(0.4))]), Some(1), "diverged");
    }
}
