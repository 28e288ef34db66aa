const pretty = value => make("pre", JSON.stringify(value, null, 2));
const nameOf = schema => schema.$ref ? schema.$ref.split("/").pop() : "";

const folded = (title, ...content) => {
  const details = make("details");
  details.append(make("summary", title), ...content);
  return details;
};

const need = security => {
  if (!security.length) return "needs no key";
  return security.some(way => way.admin) ? "needs the admin key" : "needs a key, where the server has keys";
};

const operation = (path, method, told) => {
  const panel = make("section", undefined, "panel");
  const title = make("h3");
  title.append(make("span", method.toUpperCase() + " ", "method"), make("code", path));
  panel.append(title, make("p", told.summary), make("p", need(told.security), "soft"));
  if (told.requestBody) {
    const { schema, example } = told.requestBody.content["application/json"];
    panel.append(folded("body: " + nameOf(schema), pretty(example)));
  }
  const answers = make("dl");
  for (const [status, response] of Object.entries(told.responses)) {
    const [type, { schema }] = Object.entries(response.content)[0];
    const shown = status === "200" ? nameOf(schema) || type : response.description;
    answers.append(make("dt", status), make("dd", shown));
  }
  panel.append(answers);
  return panel;
};

const load = async () => {
  try {
    const told = await ask("/openapi.json");
    byId("about").textContent = told.info.title + " " + told.info.version + ": " + told.info.description;
    const routes = [];
    for (const [path, methods] of Object.entries(told.paths))
      for (const [method, one] of Object.entries(methods)) routes.push(operation(path, method, one));
    byId("routes").className = "grid";
    byId("routes").replaceChildren(...routes);
    const schemas = Object.entries(told.components.schemas);
    byId("schemas").replaceChildren(...schemas.map(([name, schema]) => folded(name, pretty(schema))));
    tell("");
  } catch (error) {
    tell(error.message, true);
  }
};
onKey(load);
load();
