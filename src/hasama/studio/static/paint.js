// Masks: for each style a layer over the content, drawn with the pointer, and sent as a grey PNG.
const content = document.querySelector("#content-file");
const styles = document.querySelector("#style-files");
const box = document.querySelector("#masks");
const canvas = box.querySelector("canvas");
const choice = document.querySelector("#mask-of");
const brush = document.querySelector("#brush");
const LONGEST = 720;
const SHADES = ["#d9722ecc", "#2f7fbfcc", "#3f8f5fcc", "#a04fb0cc", "#b09a1fcc", "#c2405fcc"];
let photo = null;
let masks = [];
let last = null;

const layer = () => Object.assign(document.createElement("canvas"), { width: canvas.width, height: canvas.height });
const draw = () => {
  const pen = canvas.getContext("2d");
  pen.drawImage(photo, 0, 0, canvas.width, canvas.height);
  masks.forEach((mask, number) => {
    const tinted = layer();
    const over = tinted.getContext("2d");
    over.drawImage(mask, 0, 0);
    over.globalCompositeOperation = "source-in";
    over.fillStyle = SHADES[number % SHADES.length];
    over.fillRect(0, 0, canvas.width, canvas.height);
    pen.drawImage(tinted, 0, 0);
  });
};
const form = document.querySelector("#paint");
const sent = document.querySelector("#mask-files");
const chosen = () => JSON.stringify([content, styles].map((of) => [...of.files].map((file) => [file.name, file.size, file.lastModified])));
let begun = JSON.stringify([[], []]);
const begin = async () => {
  begun = chosen();
  masks = []; // those that were drawn belong to another picture
  sent.replaceChildren();
  delete form.dataset.ready;
  box.hidden = !(content.files.length && styles.files.length);
  if (box.hidden) return;
  try {
    photo = await createImageBitmap(content.files[0]);
  } catch {
    box.hidden = true;
    return;
  }
  const times = LONGEST / Math.max(photo.width, photo.height);
  canvas.width = Math.round(photo.width * times);
  canvas.height = Math.round(photo.height * times);
  masks = [...styles.files].slice(0, 6).map(layer);
  choice.replaceChildren(...[...styles.files].slice(0, 6).map((file, number) => new Option(file.name, String(number))));
  draw();
};
content.addEventListener("change", begin);
styles.addEventListener("change", begin);

const at = (event) => {
  const seen = canvas.getBoundingClientRect();
  return [((event.clientX - seen.left) / seen.width) * canvas.width, ((event.clientY - seen.top) / seen.height) * canvas.height];
};
const stroke = (event) => {
  const here = at(event);
  const pen = masks[Number(choice.value)].getContext("2d");
  pen.lineCap = pen.lineJoin = "round";
  pen.strokeStyle = "#ffffff";
  pen.lineWidth = Number(brush.value);
  pen.beginPath();
  pen.moveTo(...(last ?? here));
  pen.lineTo(here[0] + 0.01, here[1]);
  pen.stroke();
  last = here;
  masks[Number(choice.value)].dataset.drawn = "yes";
  draw();
};
canvas.addEventListener("pointerdown", (event) => { canvas.setPointerCapture(event.pointerId); last = null; stroke(event); });
canvas.addEventListener("pointermove", (event) => { if (event.buttons) stroke(event); });
canvas.addEventListener("pointerup", () => { last = null; });
const fill = (full) => {
  const mask = masks[Number(choice.value)];
  const pen = mask.getContext("2d");
  pen.clearRect(0, 0, mask.width, mask.height);
  if (full) { pen.fillStyle = "#ffffff"; pen.fillRect(0, 0, mask.width, mask.height); }
  mask.dataset.drawn = full ? "yes" : "";
  draw();
};
document.querySelector("#mask-all").addEventListener("click", () => fill(true));
document.querySelector("#mask-none").addEventListener("click", () => fill(false));

// Whoever comes back finds the files that were chosen before, kept by the browser, and not what was made of them.
const found = () => { if (chosen() !== begun) begin(); };
found();
window.addEventListener("pageshow", (event) => {
  if (event.persisted) {
    delete form.dataset.ready;
    sent.replaceChildren();
  }
  found();
});
form.addEventListener("submit", async (event) => {
  if (form.dataset.ready) return;
  sent.replaceChildren(); // what stands there was sent before
  if (!masks.some((mask) => mask.dataset.drawn)) return;
  event.preventDefault();
  for (const [number, mask] of masks.entries()) {
    if (!mask.dataset.drawn) continue;
    const grey = layer();
    const pen = grey.getContext("2d");
    pen.fillStyle = "#000000";
    pen.fillRect(0, 0, grey.width, grey.height);
    pen.drawImage(mask, 0, 0);
    const blob = await new Promise((done) => grey.toBlob(done, "image/png"));
    const input = Object.assign(document.createElement("input"), { type: "file", name: `mask${number}` });
    const carried = new DataTransfer();
    carried.items.add(new File([blob], `mask${number}.png`, { type: "image/png" }));
    input.files = carried.files;
    sent.append(input);
  }
  form.dataset.ready = "yes";
  form.requestSubmit();
});
