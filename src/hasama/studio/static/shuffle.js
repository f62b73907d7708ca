// A portrait whose patches change places, and how far it is from itself.
const form = document.querySelector("#settings");
const picture = document.querySelector("#picture");
const field = (name) => form.elements.namedItem(name);
const sides = form.dataset.sides.split(",");
let busy = false;
let wanted = false;

const show = async () => {
  field("side").value = sides[Number(field("step").value)];
  field("side_is").value = field("side").value;
  wanted = true;
  if (busy) return;
  busy = true;
  while (wanted) {
    wanted = false;
    const query = new URLSearchParams({ side: field("side").value, seed: field("seed").value });
    picture.src = `/learn/shuffled.png?${query}`;
    try {
      const found = await (await fetch(`/api/distances?${query}`)).json();
      for (const name of ["gram", "places"]) {
        const shown = document.querySelector(`#${name}`);
        if (shown) shown.textContent = `${found[name]} %`;
      }
    } catch (error) {
      break; // the next wish tries again
    }
  }
  busy = false;
};
form.addEventListener("input", show);
form.addEventListener("submit", (event) => event.preventDefault());
document.querySelector("#other").addEventListener("click", () => {
  field("seed").value = String(Math.floor(Math.random() * 100000));
  show();
});
show();
