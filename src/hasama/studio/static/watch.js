// A page over one or two runs: what changes is asked for again and again, and nothing else.
import { again, ask, clock, layoutOf, lineOf, options, short, showStatus } from "./watching.js";

const EVERY = 2000;
const HEALTH_EVERY = 20000;

for (const section of document.querySelectorAll("section.run")) {
  const one = (selector) => section.querySelector(selector);
  const words = section.dataset;
  const run = encodeURIComponent(words.run);
  const slider = one("input[type=range]");
  const grid = one("img.grid");
  let samples = words.samples ? words.samples.split(",").map(Number) : [];
  let drawn = "";

  const show = (index) => {
    grid.hidden = false;
    grid.src = `/sample.png?run=${run}&seen=${samples[index]}&size=${words.size}`;
    const at = one(".at");
    if (at) at.textContent = `${short(samples[index] / 1000)} ${words.images}`;
  };
  slider?.addEventListener("input", () => show(Number(slider.value)));

  const draw = (curves) => {
    if (!window.Plotly || !curves.images_seen.length) return;
    const mark = JSON.stringify([curves.images_seen.length, curves.images_seen.at(-1)]);
    if (mark === drawn) return;
    drawn = mark;
    const x = curves.images_seen.map((n) => n / 1000);
    const layout = layoutOf(words.images, words.loss);
    const line = (name, title, shade) => lineOf(x, curves[name], title, shade);
    const losses = [];
    if (curves.loss_discriminator) losses.push(line("loss_discriminator", words.discriminator, "#2f7fbf"));
    if (curves.loss_generator) losses.push(line("loss_generator", words.generator, "#d9722e"));
    window.Plotly.react(one(".losses"), losses, layout, options);
    const quality = one(".quality");
    one(".quality-part").hidden = !curves.kid;
    if (curves.kid) {
      const kept = x.map((at, n) => [at, curves.kid[n], curves.kid_low?.[n], curves.kid_high?.[n]]).filter((p) => p[1] !== null);
      const trace = {
        x: kept.map((p) => p[0]), y: kept.map((p) => p[1]), name: "KID", mode: "lines+markers", line: { color: "#3f8f5f" },
        error_y: { type: "data", symmetric: false, array: kept.map((p) => p[3] - p[1]), arrayminus: kept.map((p) => p[1] - p[2]), color: "#3f8f5f88" },
      };
      window.Plotly.react(quality, [trace], { ...layout, yaxis: { ...layout.yaxis, title: { text: "KID" }, rangemode: "tozero" } }, options);
    }
  };

  const update = async () => {
    const now = await ask(`/api/state?run=${run}`);
    if (now.small !== ("small" in words)) { location.reload(); return; }  // a stage is over: all of this was of another size
    one(".kimg").textContent = short(now.kimg);
    one(".speed").textContent = short(now.images_per_second ?? 0);
    one(".left").textContent = clock(now.seconds_left);
    one(".kid").textContent = short(now.kid);
    one("progress").value = now.done;
    const coming = ["waiting", "running"].includes(now.job?.state) && !["training", "stopping"].includes(now.status);
    const status = coming ? now.job.state : now.status;
    showStatus(one(".status"), status);
    one("form.stop").hidden = status !== "training" && !coming;
    one("form.resume").hidden = ["training", "stopping"].includes(status) || coming;
    one("input[name=kimg]").required = status === "finished";
    if (!now.small && now.kimg) one("input[name=kimg]").min = now.kimg; // less than that is done already
    one(".explore").hidden = !now.generator;
    const failure = one(".failure");
    const told = now.job?.state === "failed" ? now.job.said : "";
    failure.hidden = !told;
    if (failure.textContent !== told) failure.textContent = told;
    if (now.samples.join() !== samples.join()) {
      const atEnd = !slider || Number(slider.value) >= samples.length - 1;
      samples = now.samples;
      if (!slider) { location.reload(); return; }
      slider.max = samples.length - 1;
      slider.disabled = samples.length < 2;
      if (atEnd) { slider.value = samples.length - 1; show(samples.length - 1); }
    }
    draw(now.curves);
  };

  const add = (parent, kind, text, shape = "") => {
    const made = document.createElement(kind);
    made.textContent = text;
    if (shape) made.className = shape;
    parent.append(made);
    return made;
  };
  const doctor = async () => {
    const told = await ask(`/api/health?run=${run}`).catch((error) => {
      if (!error.refusal) throw error;
      return { refusal: error.refusal, findings: [] };
    });
    const place = one(".health");
    const held = told.findings.filter((finding) => finding.holds);
    const mark = JSON.stringify([told.refusal ?? told.verdict, held.map((f) => [f.severity, f.title, f.explanation, f.remedies])]);
    if (place.dataset.mark === mark) return;
    place.dataset.mark = mark;
    const forms = [...place.querySelectorAll("form")];
    const at = forms.find((form) => form.contains(document.activeElement))?.dataset.remedy; // a keyboard stays there
    place.replaceChildren();
    add(place, "p", told.refusal ?? told.verdict, told.refusal ? "note bad" : "note");
    for (const finding of held) {
      const box = add(place, "div", "", `finding ${finding.severity}`);
      add(box, "h3", finding.title);
      add(box, "p", finding.explanation);
      finding.remedies.forEach((remedy, number) => {
        const form = add(box, "form", "", "row");
        form.dataset.remedy = JSON.stringify([finding.name, remedy]);
        form.method = "post";
        form.action = "/watch/remedy";
        for (const [name, value] of [["run", words.run], ["finding", finding.name], ["number", number]]) {
          const input = document.createElement("input");
          Object.assign(input, { type: "hidden", name, value });
          form.append(input);
        }
        const button = add(form, "button", words.apply, "quiet");
        if (form.dataset.remedy === at) button.focus();
        add(form, "code", remedy.flags ?? JSON.stringify(remedy.changes));
        add(box, "p", remedy.why, "small soft");
      });
    }
  };

  again(update, EVERY, section);
  again(doctor, HEALTH_EVERY);
}
