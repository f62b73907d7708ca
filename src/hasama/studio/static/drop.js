import { filesIn } from "/static/folders.js";

// Fields for files: what is dropped beside them counts, too, and what was chosen is told.
for (const box of document.querySelectorAll(".drop")) {
  const input = box.querySelector("input[type=file]");
  const told = box.querySelector(".chosen");
  const first = told?.textContent;
  const tell = () => {
    if (!told) return;
    const names = [...input.files].map((file) => file.name);
    const now = names.length > 3 ? `${names.length} ${box.dataset.many ?? ""}` : names.join(", ") || first;
    if (told.textContent !== now) told.textContent = now;
  };
  const take = async (dropped) => {
    const entries = [...dropped.items].map((item) => item.webkitGetAsEntry?.()).filter(Boolean);
    let files = dropped.files;
    if (entries.some((entry) => entry.isDirectory)) {
      const all = new DataTransfer();
      for (const one of await filesIn(entries, input.accept.split(","))) all.items.add(one);
      files = all.files;
    }
    input.files = files;
    input.dispatchEvent(new Event("change", { bubbles: true }));
  };
  input.addEventListener("change", tell);
  window.addEventListener("pageshow", tell); // the browser keeps what was chosen for whoever comes back
  tell();
  for (const kind of ["dragover", "dragleave", "drop"]) {
    box.addEventListener(kind, (event) => {
      event.preventDefault();
      box.classList.toggle("over", kind === "dragover");
      if (kind === "drop" && event.dataTransfer.files.length) take(event.dataTransfer);
    });
  }
}
