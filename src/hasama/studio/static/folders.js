// The files of what was dropped, folders and their folders opened; only those with an ending that is taken.
const read = (reader) => new Promise((done, failed) => reader.readEntries(done, failed));
const file = (entry) => new Promise((done, failed) => entry.file(done, failed));

export const filesIn = async (entries, endings) => {
  const found = [];
  for (const entry of entries) {
    if (entry.isDirectory) {
      const reader = entry.createReader();
      for (let some = await read(reader); some.length; some = await read(reader)) { // a hundred at a time
        found.push(...(await filesIn(some.sort((a, b) => a.name.localeCompare(b.name)), endings)));
      }
    } else if (endings.some((ending) => entry.name.toLowerCase().endsWith(ending))) {
      found.push(await file(entry));
    }
  }
  return found;
};
