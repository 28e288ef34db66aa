let tasks = [];
const isPair = () => byId("is-pair").checked;
const fits = task => !task.error && task.pair === isPair();
const number = value => value === null ? "–" : String(Math.round(value * 1e4) / 1e4);

const showChoices = () => {
  const choices = tasks.filter(fits).map(task => {
    const label = make("label");
    const box = make("input");
    box.type = "checkbox";
    box.value = task.name;
    box.checked = true;
    label.append(box, make("span", task.name));
    return label;
  });
  byId("choices").replaceChildren(...(choices.length ? choices : [make("p", "none for this kind of input", "soft")]));
};

const card = task => {
  const panel = make("article", undefined, "panel");
  panel.append(make("h3", task.name));
  if (task.error) {
    panel.append(make("p", task.error, "bad"));
    return panel;
  }
  const facts = make("dl");
  const fact = (name, value) => facts.append(make("dt", name), make("dd", value));
  fact("answers", (task.pair ? "pairs, " : "texts, ") + task.kind);
  if (task.labels.length) fact("labels", task.labels.slice(0, 12).join(", ") + (task.labels.length > 12 ? ", …" : ""));
  if (task.train_rows !== null) fact("dev " + task.metric, number(task.dev_score) + " (baseline " + number(task.baseline) + ")");
  fact("trained", task.trained_parameters.toLocaleString("en") + " numbers, " + task.method);
  fact("cut to", task.max_length + " tokens");
  fact("version", task.version.slice(0, 12) + (task.versions.length > 1 ? ", newest of " + task.versions.length : ""));
  panel.append(facts);
  return panel;
};

const bar = (name, value, isBest) => {
  const row = make("div", undefined, isBest ? "bar best" : "bar");
  const head = make("div");
  head.append(make("span", name), make("span", (100 * value).toFixed(1) + " %", "number"));
  const track = make("div", undefined, "track");
  const fill = make("div", undefined, "fill");
  fill.style.width = 100 * value + "%";
  track.setAttribute("aria-hidden", "true");
  track.append(fill);
  row.append(head, track);
  return row;
};

const MOST_BARS = 10;
const answered = answer => {
  const panel = make("article", undefined, "panel");
  panel.append(make("h3", answer.task));
  if (answer.error) {
    panel.append(make("p", answer.error, "bad"));
  } else if (answer.probabilities) {
    const sorted = Object.entries(answer.probabilities).sort((a, b) => b[1] - a[1]);
    const given = answer.labels || [answer.label];
    const shown = sorted.filter(([label], place) => place < MOST_BARS || given.includes(label));
    for (const [label, value] of shown) panel.append(bar(label, value, given.includes(label)));
    if (sorted.length > shown.length) panel.append(make("p", "and " + (sorted.length - shown.length) + " more", "soft"));
    if (!given.length) panel.append(make("p", "no label is probable enough", "soft"));
  } else {
    panel.append(make("p", "score " + number(answer.score)));
  }
  return panel;
};

const load = async () => {
  try {
    tasks = (await ask("/v1/tasks")).tasks;
    byId("is-pair").checked = tasks.length > 0 && tasks.every(task => task.error || task.pair);
    byId("is-pair").dispatchEvent(new Event("change"));
    byId("tasks").replaceChildren(...tasks.map(card));
    tell(tasks.length ? "" : "the bank has no task yet");
  } catch (error) {
    tell(error.message, true);
  }
};

byId("is-pair").addEventListener("change", () => {
  byId("second").hidden = !isPair();
  showChoices();
});
byId("text").addEventListener("keydown", event => {
  if (event.key === "Enter" && (event.ctrlKey || event.metaKey)) byId("form").requestSubmit();
});
byId("form").addEventListener("submit", async event => {
  event.preventDefault();
  const chosen = [...byId("choices").querySelectorAll("input:checked")].map(box => box.value);
  if (!chosen.length) return tell("choose a task", true);
  const text = byId("text").value;
  byId("go").disabled = true;
  tell("asking …");
  try {
    const input = isPair() ? [text, byId("text-b").value] : text;
    const { answers } = await ask("/v1/predict_many", { input, tasks: chosen });
    byId("answers-title").hidden = false;
    byId("answers").replaceChildren(...answers.map(answered));
    tell(answers.length === 1 ? "1 answer" : answers.length + " answers");
  } catch (error) {
    tell(error.message, true);
  } finally {
    byId("go").disabled = false;
  }
});
onKey(load);
load();
