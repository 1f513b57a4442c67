# Sourced by scripts that look at a page: a Chromium, what drives it, and what finds faults of accessibility. Sets `chromium` and
# `python_of_browser`.

find_chromium() { # one that runs: Ubuntu's chromium-browser may be a note about snap
  local name
  for name in chromium chromium-browser google-chrome; do
    "$name" --version >/dev/null 2>&1 && command -v "$name" && return 0
  done
  return 1
}

find_browser() {
  local folder="${SERVICES_DIR:-$root/.services}/browser" playwright
  chromium=$(find_chromium) || { apt_install chromium && chromium=$(find_chromium); } ||
    fail "there is no Chromium, and Debian's can't be installed: ${why:-it does not run}; put one on PATH as chromium, chromium-browser or google-chrome"
  playwright=$(python_program "$folder" playwright 1.65.2)
  python_of_browser=$(dirname "$playwright")/python
  # Of a folder that was made before it was needed.
  "$python_of_browser" -c 'import axe_playwright_python' 2>/dev/null || python_package "$folder" playwright 1.65.2
}
