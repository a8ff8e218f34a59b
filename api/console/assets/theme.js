// Chosen before the page is drawn, so that it does not flash. Without a choice the system's decides.
(() => {
  const choices = ['auto', 'light', 'dark'];
  const root = document.documentElement;
  let stored = null;
  try {
    stored = localStorage.getItem('console.theme');
  } catch {
    // storage may be closed to pages; the choice then ends with the page
  }
  root.dataset.theme = choices.includes(stored) ? stored : 'auto';
  window.consoleTheme = {
    get: () => root.dataset.theme,
    next() {
      const theme = choices[(choices.indexOf(root.dataset.theme) + 1) % choices.length];
      root.dataset.theme = theme;
      try {
        localStorage.setItem('console.theme', theme);
      } catch {
        // as above
      }
      return theme;
    },
  };
})();
