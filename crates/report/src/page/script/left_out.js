// The list of skipped nodes and pools.

function setUpLeftOut() {
  const details = byId("left-details");
  details.hidden = page.left_out.length === 0;
  details.addEventListener("toggle", () => {
    const lines = page.left_out.map(([account, pool, node, reason, cause, state]) =>
      [node === null ? "(the whole pool)" : mono(node), account, pool, reason, [state, cause].filter(Boolean).join(": ")]);
    byId("left-list").replaceChildren(plainTable(["Node", "Account", "Pool", "Reason", "More"], lines));
  }, { once: true });
}
