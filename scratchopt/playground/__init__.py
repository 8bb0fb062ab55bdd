"""The playground: methods and functions in JavaScript, and the page on which they run."""
