"""What `pinnace classify` does with many images: who is asked, what is written, what is shown."""
