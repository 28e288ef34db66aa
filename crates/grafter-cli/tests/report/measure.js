// What can be measured of the page in each frame, as JSON into the element `result`.

const numbers = css => css.match(/[\d.]+/g).map(Number);
const over = ([r, g, b, a = 1], under) => [r, g, b].map((c, i) => a * c + (1 - a) * under[i]);
const luminance = colour => {
  const linear = c => (c /= 255) <= 0.04045 ? c / 12.92 : ((c + 0.055) / 1.055) ** 2.4;
  return 0.2126 * linear(colour[0]) + 0.7152 * linear(colour[1]) + 0.0722 * linear(colour[2]);
};
const contrast = (a, b) => {
  const [dark, light] = [luminance(a), luminance(b)].sort((x, y) => x - y);
  return (light + 0.05) / (dark + 0.05);
};

// The colour behind an element: of its nearest ancestor with one, or of the cell that it is printed on.
function behind(element, style) {
  const cell = element.closest("svg g > text") && element.parentElement.querySelector(":scope > rect");
  let above = [];
  if (cell) above = [[...numbers(style(cell).fill).slice(0, 3), Number(style(cell).fillOpacity)]];
  for (let at = element; at; at = at.parentElement) {
    const colour = numbers(style(at).backgroundColor);
    if (colour.length === 3) return above.reduceRight((under, top) => over(top, under), colour);
    above.push(colour);
  }
  throw new Error("the page has no colour");
}

function measure(frame) {
  const page = frame.contentDocument, root = page.documentElement;
  const style = element => frame.contentWindow.getComputedStyle(element);
  for (const folded of page.querySelectorAll("details")) folded.open = true;
  const shown = element => element.getClientRects().length > 0;
  const charts = [...page.querySelectorAll("svg[role=img]")].filter(shown);
  const touching = [], cut = [], marks = [];
  let smallest = 1000;
  for (const svg of charts) {
    const inside = svg.getBoundingClientRect();
    const box = (element, name) => [name, element.getBoundingClientRect()];
    const texts = [...svg.querySelectorAll("text")].filter(shown);
    for (const text of texts) if (text.firstChild && text.firstChild.data.endsWith("…")) cut.push(text.firstChild.data);
    const boxes = texts.filter(text => !(text.getAttribute("transform") || "").includes("-45"))
      .map(text => box(text, text.firstChild ? text.firstChild.data : ""));
    for (const [name, { height }] of boxes) if (name) smallest = Math.min(smallest, height);
    const dots = [...svg.querySelectorAll(".dot")].map(dot => box(dot, "a dot"));
    for (let i = 0; i < boxes.length; i++) for (const [name, b] of [...boxes.slice(i + 1), ...dots]) {
      const a = boxes[i][1];
      if (a.left < b.right - 1 && b.left < a.right - 1 && a.top < b.bottom - 2 && b.top < a.bottom - 2)
        touching.push(boxes[i][0] + " | " + name);
    }
    const drawn = [...svg.querySelectorAll(".line, .bar, .dot, .cell")].map(mark => box(mark, mark.getAttribute("class")));
    for (const [name, a] of [...boxes, ...drawn])
      if (a.left < inside.left - 1 || a.right > inside.right + 1 || a.top < inside.top - 1 || a.bottom > inside.bottom + 1)
        touching.push("outside: " + name);
    marks.push(drawn.filter(([name, a]) => a.width > 0 || a.height > 0).length);
  }
  // The palest text and the palest mark, with what they say.
  let text = [21, ""], mark = [21, ""];
  const walker = page.createTreeWalker(page.body, NodeFilter.SHOW_TEXT);
  for (let node; (node = walker.nextNode());) {
    const element = node.parentElement;
    if (!node.data.trim() || element.closest("title") || !shown(element)) continue;
    const paper = behind(element, style);
    const ink = over(numbers(element.closest("svg") ? style(element).fill : style(element).color), paper);
    if (contrast(ink, paper) < text[0]) text = [contrast(ink, paper), node.data];
  }
  for (const svg of [...charts, ...page.querySelectorAll(".legend svg")])
    for (const drawn of svg.querySelectorAll(".line:not(.faint), .bar, .dot, .ring")) {
      const css = style(drawn), name = svg.getAttribute("aria-label") || "legend";
      const paper = behind(svg, style);
      const ratio = contrast(over(numbers(css.fill === "none" ? css.stroke : css.fill), paper), paper);
      if (ratio < mark[0]) mark = [ratio, name];
    }
  return {
    width: frame.clientWidth,
    overflow: root.scrollWidth - root.clientWidth,
    sections: [...page.querySelectorAll("section > h2")].map(heading => heading.textContent),
    charts: marks,
    loaded: frame.contentWindow.performance.getEntriesByType("resource").map(entry => entry.name),
    scripts: page.scripts.length,
    title: page.title,
    background: style(page.body).backgroundColor,
    scrolling: [...page.querySelectorAll(".scroll")].filter(part => part.scrollWidth > part.clientWidth)
      .map(part => part.textContent.slice(0, 60)),
    smallest, touching, cut, text, mark,
  };
}

document.getElementById("result").textContent =
  JSON.stringify([...document.querySelectorAll("iframe")].map(measure));
