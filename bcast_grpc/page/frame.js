/** One update of the document for each frame of the screen, whatever was received meanwhile. */

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

/** Run a job whose failure must not stop what follows. @param {() => void} job */
export function guarded(job) {
  try {
    job();
  } catch (error) {
    console.error(error);
  }
}
