"""Films: a storyboard's shots are dreamt, kept, cut together and sealed."""
