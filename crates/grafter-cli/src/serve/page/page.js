let tasks = [];
// What a task reads: the names of its texts, and whether there are texts to choose from.
const FORMS = {
  text: { name: "a text", text: "Text" },
  pair: { name: "a pair of texts", text: "Text", second: "Second text" },
  choices: { name: "a text with choices", text: "Text", choices: true },
  "pair-choices": { name: "a pair of texts with choices", text: "Text", second: "Beginning of each choice", choices: true },
  question: { name: "a question with its context", text: "Question", second: "Context" },
};
const formOf = task => {
  if (task.kind === "question-answering") return "question";
  if (task.kind === "multiple-choice") return task.pair ? "pair-choices" : "choices";
  return task.pair ? "pair" : "text";
};
const form = () => byId("input-form").value;
const fits = task => !task.error && formOf(task) === form();
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
  fact("answers", FORMS[formOf(task)].name + ": " + task.kind);
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
const bars = parts => {
  const sorted = [...parts].sort((a, b) => b.value - a.value);
  const shown = sorted.filter((part, place) => place < MOST_BARS || part.given);
  const all = shown.map(part => bar(part.name, part.value, part.given));
  if (sorted.length > shown.length) all.push(make("p", "and " + (sorted.length - shown.length) + " more", "soft"));
  return all;
};
const sure = value => make("p", (100 * value).toFixed(1) + " %", "soft");

const told = (answer, choices) => {
  if (answer.error) return [make("p", answer.error, "bad")];
  if (answer.choice !== undefined)
    return bars(answer.probabilities.map((value, place) => ({ name: choices[place], value, given: place === answer.choice })));
  if (answer.probabilities) {
    const given = answer.labels || [answer.label];
    const parts = Object.entries(answer.probabilities).map(([name, value]) => ({ name, value, given: given.includes(name) }));
    return [...bars(parts), ...(given.length ? [] : [make("p", "no label is probable enough", "soft")])];
  }
  if (answer.answer !== undefined) return [answer.answer ? make("p", answer.answer) : make("p", "no answer", "soft"), sure(answer.score)];
  if (answer.entities) {
    if (!answer.entities.length) return [make("p", "no entities", "soft")];
    return answer.entities.map(entity => make("p", entity.text + " – " + entity.type));
  }
  if (answer.tags) return answer.words.map((word, place) => make("p", word + " – " + answer.tags[place]));
  return [make("p", "score " + number(answer.score))];
};

const answered = (answer, choices) => {
  const panel = make("article", undefined, "panel");
  panel.append(make("h3", answer.task), ...told(answer, choices));
  if (answer.truncated) panel.append(make("p", "the text was cut", "soft"));
  return panel;
};

const load = async () => {
  try {
    tasks = (await ask("/v1/tasks")).tasks;
    const read = Object.keys(FORMS).filter(form => tasks.some(task => !task.error && formOf(task) === form));
    byId("input-form").replaceChildren(...(read.length ? read : ["text"]).map(form => {
      const option = make("option", FORMS[form].name);
      option.value = form;
      return option;
    }));
    byId("input-form").dispatchEvent(new Event("change"));
    byId("tasks").replaceChildren(...tasks.map(card));
    tell(tasks.length ? "" : "the bank has no task yet");
  } catch (error) {
    tell(error.message, true);
  }
};

byId("input-form").addEventListener("change", () => {
  const { text, second, choices } = FORMS[form()];
  byId("text-name").textContent = text;
  byId("text-b-name").textContent = second || "";
  byId("second").hidden = !second;
  byId("options").hidden = !choices;
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
    const { second, choices } = FORMS[form()];
    const input = { text };
    if (second) input.text_b = byId("text-b").value;
    if (choices) input.choices = byId("texts").value.split("\n").filter(line => line.trim());
    const { answers } = await ask("/v1/predict_many", { input, tasks: chosen });
    byId("answers-title").hidden = false;
    byId("answers").replaceChildren(...answers.map(answer => answered(answer, input.choices)));
    tell(answers.length === 1 ? "1 answer" : answers.length + " answers");
  } catch (error) {
    tell(error.message, true);
  } finally {
    byId("go").disabled = false;
  }
});
onKey(load);
load();
