// A transposed convolution of ones: how many taps of the kernel reach each place, in a row and in a picture.
import { showing } from "/static/wishes.js";

const canvas = document.querySelector("#overlap");
const pen = canvas.getContext("2d");
const form = document.querySelector("#settings");
const number = (name) => Number(form.elements.namedItem(name).value);
const SMALL = 12;

const reached = (kernel, stride) => {
  const row = new Array((SMALL - 1) * stride + kernel).fill(0);
  for (let place = 0; place < SMALL; place += 1) for (let tap = 0; tap < kernel; tap += 1) row[place * stride + tap] += 1;
  return row.slice(kernel - 1, row.length - kernel + 1); // what no edge touches
};
const show = () => {
  const [kernel, stride] = [number("kernel"), number("stride")];
  form.elements.namedItem("kernel_is").value = kernel;
  form.elements.namedItem("stride_is").value = stride;
  const row = reached(kernel, stride);
  const most = Math.max(...row, 1);
  pen.fillStyle = "#ffffff";
  pen.fillRect(0, 0, canvas.width, canvas.height);
  const wide = canvas.width / row.length;
  row.forEach((count, n) => {
    const high = (count / most) * 110;
    pen.fillStyle = "#1f5f9e";
    pen.fillRect(n * wide + 1, 120 - high, wide - 2, high);
    pen.fillStyle = "#1d1c1a";
    pen.font = "13px system-ui, sans-serif";
    pen.textAlign = "center";
    if (wide > 12) pen.fillText(String(count), n * wide + wide / 2, 138);
  });
  const side = Math.min(row.length, 40);
  const cell = 270 / side;
  const left = (canvas.width - 270) / 2;
  for (let y = 0; y < side; y += 1) {
    for (let x = 0; x < side; x += 1) {
      const shade = Math.round(255 * (row[y] * row[x]) / (most * most));
      pen.fillStyle = `rgb(${shade}, ${shade}, ${shade})`;
      pen.fillRect(left + x * cell, 148 + y * cell, cell + 0.5, cell + 0.5);
    }
  }
  const even = row.length > 0 && row.every((count) => count === row[0]) && row[0] > 0;
  const told = document.querySelector("#even");
  told.textContent = even ? told.dataset.even : told.dataset.uneven;
  told.dataset.now = even ? "even" : "uneven";
};
showing(form, show);
