// What pages share that watch something: asking again and again, figures, and how curves look.
export const ask = async (address) => {
  const answer = await fetch(address, { headers: { accept: "application/json" } });
  if (answer.ok) return answer.json();
  const told = await answer.text();
  const refused = answer.headers.get("content-type")?.includes("json");
  throw Object.assign(new Error(told), { refusal: refused ? JSON.parse(told).error : "" });
};
export const clock = (seconds) => {
  if (seconds === null) return "–";
  const whole = Math.round(seconds);
  const two = (n) => String(n).padStart(2, "0");
  return `${Math.floor(whole / 3600)}:${two(Math.floor(whole / 60) % 60)}:${two(whole % 60)}`;
};
export const short = (n) => (n === null || n === undefined ? "–" : Number(n.toPrecision(4)).toString());
const colour = (name) => getComputedStyle(document.documentElement).getPropertyValue(name).trim();
export const layoutOf = (across, up) => ({
  margin: { l: 50, r: 12, t: 8, b: 40 }, paper_bgcolor: "transparent", plot_bgcolor: "transparent",
  font: { color: colour("--ink") }, legend: { orientation: "h", y: 1.15 },
  xaxis: { title: { text: across }, gridcolor: colour("--line"), zeroline: false },
  yaxis: { gridcolor: colour("--line"), zeroline: false, title: { text: up } },
});
export const options = { displaylogo: false, responsive: true, modeBarButtonsToRemove: ["select2d", "lasso2d"] };
export const lineOf = (x, y, name, shade) => ({ x, y, name, mode: "lines", connectgaps: true, line: { width: 1.5, color: shade } });
export const showStatus = (status, now) => {
  status.className = `tag status ${now}`;
  const told = JSON.parse(status.dataset.words)[now];
  if (status.textContent !== told) status.textContent = told;
};
// What is watched may be gone: the page says so as long as that is the answer, each loop in a place of its own.
const refusalsIn = (parent) => {
  let place = null;
  return (told) => {
    if (!place && told) {
      place = Object.assign(document.createElement("p"), { className: "refusal note bad" });
      place.setAttribute("role", "alert");
      parent.prepend(place);
    }
    if (!place) return;
    place.hidden = !told;
    if (place.textContent !== told) place.textContent = told;
  };
};
export const again = (work, every, parent = document.querySelector("main")) => {
  const showRefusal = refusalsIn(parent);
  const turn = async () => {
    try {
      if (!document.hidden) { await work(); showRefusal(""); }
    } catch (error) {
      console.warn(error);
      if (error.refusal) showRefusal(error.refusal);
    }
    setTimeout(turn, every);
  };
  turn();
};
