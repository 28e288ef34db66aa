const byId = id => document.getElementById(id);
// Every text of the server goes in as text; there is no way in for markup.
const make = (name, text, className) => {
  const element = document.createElement(name);
  if (text !== undefined) element.textContent = text;
  if (className) element.className = className;
  return element;
};
const storedKey = () => { try { return sessionStorage.getItem("key") || ""; } catch { return ""; } };
let key = storedKey();
const ask = async (path, body) => {
  const headers = {};
  if (key) headers.Authorization = "Bearer " + key;
  if (body) headers["Content-Type"] = "application/json";
  const answer = await fetch(path, { method: body ? "POST" : "GET", headers, body: body && JSON.stringify(body) });
  const content = await answer.json();
  if (answer.status === 401) showKey(true);
  if (!answer.ok) throw new Error(content.error + " (" + content.error_type + ")");
  return content;
};
const showKey = wanted => {
  byId("key-form").hidden = !wanted;
  if (wanted) byId("key").focus();
};
const onKey = load => {
  byId("key-form").addEventListener("submit", event => {
    event.preventDefault();
    key = byId("key").value.trim();
    // For this tab alone, and gone with it.
    try { sessionStorage.setItem("key", key); } catch { /* a browser that keeps nothing */ }
    showKey(false);
    load();
  });
  byId("show-key").addEventListener("click", () => showKey(byId("key-form").hidden));
};
const tell = (text, isError) => {
  const status = byId("status");
  status.textContent = text;
  status.className = isError ? "bad" : "soft";
};
