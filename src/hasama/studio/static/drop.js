// Fields for files: what is dropped beside them counts, too, and what was chosen is told.
for (const box of document.querySelectorAll(".drop")) {
  const input = box.querySelector("input[type=file]");
  const told = box.querySelector(".chosen");
  const tell = () => {
    const names = [...input.files].map((file) => file.name);
    if (names.length && told) told.textContent = names.length > 3 ? `${names.length} ${box.dataset.many ?? ""}` : names.join(", ");
  };
  input.addEventListener("change", tell);
  for (const kind of ["dragover", "dragleave", "drop"]) {
    box.addEventListener(kind, (event) => {
      event.preventDefault();
      box.classList.toggle("over", kind === "dragover");
      if (kind === "drop" && event.dataTransfer.files.length) {
        input.files = event.dataTransfer.files;
        input.dispatchEvent(new Event("change", { bubbles: true }));
      }
    });
  }
}
