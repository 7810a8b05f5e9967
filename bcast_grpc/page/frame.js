/** One update of the document for each frame the screen shows, whatever came meanwhile. */

/** @type {Set<() => void>} */
const jobs = new Set();

/** Run `job` once before the next paint. @param {() => void} job */
export function onFrame(job) {
  if (!jobs.size) requestAnimationFrame(run);
  jobs.add(job);
}

function run() {
  const due = [...jobs];
  jobs.clear();
  due.forEach(guarded);
}

/** Do something whose failure must not stop what comes after it. @param {() => void} job */
export function guarded(job) {
  try {
    job();
  } catch (error) {
    console.error(error);
  }
}
