// Three small things, none of which the page needs: how long it took, the real address in the examples, copy buttons.

const [navigation] = performance.getEntriesByType("navigation");
const status = document.querySelector("[data-took]");
if (status && navigation?.responseEnd > 0) {
  const took = navigation.responseEnd - navigation.requestStart;
  status.innerHTML = `<span>Answered in <b>${took.toFixed(took < 10 ? 1 : 0)} ms</b> by your own machine</span>`;
}

if (location.hostname.endsWith(".localhost")) {
  for (const port of document.querySelectorAll("[data-port]")) {
    port.textContent = location.port ? `:${location.port}` : "";
  }
}

for (const command of document.querySelectorAll(".command")) {
  const button = document.createElement("button");
  button.type = "button";
  button.textContent = "Copy";
  button.addEventListener("click", async () => {
    await navigator.clipboard.writeText(command.querySelector("pre").innerText.replace(/^\$ /gm, "").trim());
    button.textContent = "Copied";
    setTimeout(() => (button.textContent = "Copy"), 1500);
  });
  if (navigator.clipboard) command.append(button);
}
