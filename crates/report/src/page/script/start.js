// All parts are loaded: set up the page.

document.documentElement.classList.add("js");
document.documentElement.classList.toggle("one-account", page.accounts.length === 1);
setUpTable();
setUpShortcuts();
setUpMap();
setUpTimeline();
setUpLeftOut();
setUpAddress();
setUpPaper();
requestAnimationFrame(() => setTimeout(() => performance.mark("fleetlogs-shown"), 0));
