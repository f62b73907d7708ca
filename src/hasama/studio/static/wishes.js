// What pages with sliders share: at most one question at a time, and the last wish wins.
export const lastWish = (answer) => {
  let busy = false;
  let wanted = false;
  return async () => {
    wanted = true;
    if (busy) return;
    busy = true;
    try {
      while (wanted) {
        wanted = false;
        await answer();
      }
    } finally {
      busy = false;
    }
  };
};
// A form that is never sent: what changes in it is shown, and so is what it begins with.
export const showing = (form, show) => {
  form.addEventListener("input", show);
  form.addEventListener("submit", (event) => event.preventDefault());
  form.querySelector("#other")?.addEventListener("click", () => {
    form.elements.namedItem("seed").value = String(Math.floor(Math.random() * 100000));
    show();
  });
  show();
};
