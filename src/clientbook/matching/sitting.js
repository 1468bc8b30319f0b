const KEYS = { y: "yes", n: "no", d: "unknown", u: "undo" };
const WORDS = { yes: "yes (y)", no: "no (n)", unknown: "don't know (d)", undo: "undo (u)" };

function made(tag, text, ...children) {
  const element = document.createElement(tag);
  if (text) element.textContent = text;
  element.append(...children);
  return element;
}

function list(title, reasons) {
  return made("div", "", made("h4", title), made("ul", "", ...(reasons.length ? reasons : ["nothing"]).map((each) => made("li", each))));
}

function render({ model, el }) {
  let turn = -1, blind = true, shown = null;
  const box = made("div");
  box.className = "clientbook-review";
  box.tabIndex = 0;
  box.setAttribute("role", "group");
  box.setAttribute("aria-label", "Are these two records one human? y: yes, n: no, d: don't know, u: undo, s: score");
  // JupyterLab has shortcuts of its own on these keys
  box.setAttribute("data-lm-suppress-shortcuts", "true");
  const place = made("div"), progress = made("p"), buttons = made("p"), score = made("p"), fault = made("p");
  progress.setAttribute("role", "status");
  progress.className = "progress";
  fault.setAttribute("role", "alert");
  fault.className = "fault";

  const say = (what) => { if (turn >= 0) model.send({ what, turn }); };
  for (const what of Object.values(KEYS)) {
    const button = made("button", WORDS[what]);
    button.type = "button";
    button.addEventListener("click", () => { say(what); box.focus(); });
    buttons.append(button);
  }
  const toggle = made("button", "score (s)");
  toggle.type = "button";
  const flip = () => { blind = !blind; tell(); };
  toggle.addEventListener("click", () => { flip(); box.focus(); });
  buttons.append(toggle);

  function tell() {
    score.textContent = shown && !blind ? `Score: ${shown.score}` : "The score is hidden.";
  }

  function show(told) {
    turn = told.turn;
    shown = told.pair;
    progress.textContent = told.progress;
    fault.textContent = told.fault;
    box.dataset.turn = turn;
    if (!shown) {
      place.replaceChildren(made("p", "Nothing more to ask. Execute the notebook again to see what the answers make of the customers."));
    } else {
      const table = made("table", "", made("caption", "Are these two records one human?"));
      const head = made("tr", "", made("td"), ...shown.systems.map((each) => made("th", each)));
      table.append(made("thead", "", head), made("tbody", "", ...shown.rows.map(([word, one, other]) => {
        const row = made("tr", "", made("th", word), made("td", one), made("td", other));
        row.className = one && other ? (one === other ? "same" : "differs") : "";
        return row;
      })));
      const why = made("div", "", list("For", shown.for), list("Against", shown.against));
      why.className = "why";
      place.replaceChildren(table, why);
    }
    tell();
  }

  box.addEventListener("keydown", (event) => {
    const key = event.key.toLowerCase();
    if (event.ctrlKey || event.metaKey || event.altKey || event.repeat) return;
    if (key === "s") flip();
    else if (key in KEYS) say(KEYS[key]);
    else return;
    event.preventDefault();
    event.stopPropagation();
  });
  model.on("msg:custom", show);
  box.append(place, fault, score, buttons, progress);
  el.append(box);
  model.send({ what: "show" });
  return () => model.off("msg:custom", show);
}

export default { render };
